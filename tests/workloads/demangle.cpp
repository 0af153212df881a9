// demangle [SECONDS]: spins in geometry::Grid<int>::spin_cells(int) and in geometry::Grid<double>::spin_cells(double).
#include "work.h"

namespace geometry {
template <typename Cell> struct Grid {
    KEEP void spin_cells(Cell) {
        // Long beside the sampling interval: else samples may always come at the same point of a round.
        spin_units(250);
        NO_TAIL_CALL;
    }
};
} // namespace geometry

int main(int argc, char **argv) {
    geometry::Grid<int> whole;
    geometry::Grid<double> real;
    begin(argc, argv);
    while (going()) {
        whole.spin_cells(1);
        real.spin_cells(1.0);
    }
    return finish();
}

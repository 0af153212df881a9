// throw SECONDS: exceptions thrown below a recursion of templates and caught above it, with work in destructors that the
// unwinding runs, and in the handler.
#include "work.h"
#include <stdexcept>
#include <vector>

template <typename Value> struct Guard {
    Value value;
    ~Guard() { spin_unit(); }
};

template <typename Value> KEEP Value descend(std::vector<Value> &seen, int depth) {
    Guard<Value> guard{static_cast<Value>(depth)};
    seen.push_back(guard.value);
    spin_unit();
    if (depth == 0)
        throw std::runtime_error("the end");
    return descend(seen, depth - 1) + guard.value;
}

template <typename Value> KEEP void attempt() {
    std::vector<Value> seen;
    try {
        descend(seen, 12);
    } catch (const std::exception &) {
        spin_units(10);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    while (going()) {
        attempt<int>();
        attempt<double>();
    }
    return finish();
}

// split [SECONDS]: 70, 20 and 10 % of the CPU time in take_seventy, take_twenty and take_ten.
#include "split.h"

int main(int argc, char **argv) {
    unsigned seed = 1;
    begin(argc, argv);
    while (going())
        split_round(&seed);
    return finish();
}

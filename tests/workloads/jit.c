// jit [SECONDS]: spins in code written into anonymous memory, called from call_generated.
#include "work.h"
#include "generated.h"

KEEP void call_generated(generated_function generated) {
    generated();
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    generated_function generated = generate(NULL);
    if (!generated)
        return 3;
    begin(argc, argv);
    while (going())
        call_generated(generated);
    return finish();
}

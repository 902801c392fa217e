/* The tables that this processor can run. */
#include "cpu.h"
#include "tables.h"

/* Every build has its tables in one row, best first, and a processor runs a row's end: each one needs what those behind
   it need, and plain needs nothing. */
static const framewire_kernels *const row[] = {
#ifdef FRAMEWIRE_ARM64
    &framewire_neon,
#endif
    &framewire_plain,
};

size_t framewire_available(const framewire_kernels *const **tables) {
    size_t skip = 0;
    *tables = row + skip;
    return sizeof row / sizeof row[0] - skip;
}

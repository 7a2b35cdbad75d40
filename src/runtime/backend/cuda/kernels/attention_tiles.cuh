// The sizes and types of what attention_sm90.cuh works on.

#define DIM 128
#define GROUPS 2
#define QUERIES (64 * GROUPS)
#define QUERY_BLOCKS ((QUERIES_TOTAL + QUERIES - 1) / QUERIES)
#define PASSES ((KEYS_TOTAL + KEYS - 1) / KEYS)

// In bytes. A tile of bf16 is two boxes, of the first and the last 64 elements of each row; one of codes is a single box.
#define QK_BOXES (CODES ? 1 : 2)
#define Q_BYTES (QUERIES * 128 * QK_BOXES)
#define K_BYTES (KEYS * 128 * QK_BOXES)
#define V_BYTES (KEYS * 128 * 2)
// Of a thread: four for each 32 bytes of a row.
#define QUERY_REGISTERS (QK_BOXES * 16)

// With codes, vector units have more to do than the tensor cores: so values have eight more columns, all ones, whose sums are those of the
// weights. They are the start of a third box.
#define HAS_ONES (CODES > 0)
#define V_STAGE (V_BYTES + HAS_ONES * KEYS * 128)
// The factors of a pass's keys, and then the one that all have, if it is the same.
#define FACTOR_BYTES (CODES ? KEYS * 4 + 16 : 0)
#define DIFFERENT -1.0f
// Sums of a thread: half a row of values, and with ones, four more.
#define OUT (DIM / 2 + HAS_ONES * 4)

typedef unsigned short bf16;

#if CODES == 2
typedef int Score;
#else
typedef float Score;
#endif

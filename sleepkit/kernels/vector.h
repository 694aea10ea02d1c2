/* What the kernels are made of: vectors, small matrix products that stay in registers, exponentials.

Every matrix product is C (+|-)= A B with rows of B and C contiguous and padded to whole vectors; A may be transposed or
triangular, in which case what is zero is skipped. What lies in the padding is never read into a result.

Compiled at run time for the machine it runs on (build.py); REAL is float or double. */

#pragma once
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#define THREAD omp_get_thread_num()
#else
#define THREAD 0
#endif

typedef REAL real;

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#if defined(__x86_64__) && !defined(__AVX512F__)
#define WIDE 2 /* vectors of a tile of 6 rows: with 16 registers a wider one would be spilled */
#else
#define WIDE 4
#endif
#ifdef __SANITIZE_ADDRESS__ /* a build for tests: checks would make inlined products take minutes to compile */
#include <sanitizer/asan_interface.h>
#define INLINE static
#else
#define INLINE static inline __attribute__((always_inline))
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
enum { LANES = VECTOR_BYTES / sizeof(real) };
enum { WHOLE, LOWER, UPPER, LOWER_OUT }; /* what is zero: nothing, A above its diagonal, A below it; what is wanted: C up to it */
enum { SET, ADD, SUB };

/* The same width in fp64: a vector of reals is one of these (fp64) or two (fp32). */
typedef double wide __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(double)), may_alias));
enum { WIDE_LANES = VECTOR_BYTES / sizeof(double), HALVES = LANES / WIDE_LANES };
typedef real narrow __attribute__((vector_size(WIDE_LANES * sizeof(real)), aligned(sizeof(real)), may_alias));

INLINE long padded(long n) { return (n + LANES - 1) / LANES * LANES; }
INLINE long aligned(long n) { return (n + 63) / 64 * 64; }
INLINE long at_most(long a, long b) { return a < b ? a : b; }
INLINE vec load(const real *p) { return *(const vec *)p; }
INLINE void store(real *p, vec x) { *(vec *)p = x; }
INLINE wide widened(const real *p) { return __builtin_convertvector(*(const narrow *)p, wide); }
INLINE void store_narrowed(real *p, wide x) { *(narrow *)p = __builtin_convertvector(x, narrow); }

/* rows x vecs of C; A(i, k) = a[i ai + k ak], k in [from, to) */
INLINE void tile(const int rows, const int vecs, const int mode, long from, long to, const real *a, long ai, long ak, const real *b,
                 long ldb, real *c, long ldc) {
    vec sum[6][WIDE];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) sum[i][j] = (vec){0};
    for (long k = from; k < to; k++) {
        vec row[WIDE];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) row[j] = load(b + k * ldb + j * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++) sum[i][j] += a[i * ai + k * ak] * row[j];
    }
    /* The sum is made first and added once: its partial sums are smaller than C, and so are their rounding errors. */
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) {
            real *at = c + i * ldc + j * LANES;
            if (mode == ADD) sum[i][j] = load(at) + sum[i][j];
            if (mode == SUB) sum[i][j] = load(at) - sum[i][j];
            store(at, sum[i][j]);
        }
}

/* all rows of `vecs` columns of vectors */
INLINE void panel(const int vecs, const int mode, int shape, long m, long n_k, const real *a, long ai, long ak, const real *b,
                  long ldb, real *c, long ldc, long column) {
    for (long i = 0, rows; i < m; i += rows) {
        long left = m - i;
        rows = left >= 12 || left == 6 ? 6 : left > 6 ? (left + 1) / 2 : left; /* never a last tile of a row or two alone */
        if (shape == LOWER_OUT && column > i + rows - 1) continue;
        long from = shape == UPPER ? i : 0, to = shape == LOWER ? at_most(n_k, i + rows) : n_k;
        const real *at = a + i * ai;
        real *out = c + i * ldc;
        if (rows == 6) tile(6, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else if (rows == 5) tile(5, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else if (rows == 4) tile(4, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else if (rows == 3) tile(3, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else if (rows == 2) tile(2, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else tile(1, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
    }
}

INLINE void product(const int mode, int shape, long m, long n, long n_k, const real *a, long ai, long ak, const real *b, long ldb,
                    real *c, long ldc) {
    long vecs = padded(n) / LANES, j = 0;
    for (; j + WIDE <= vecs; j += WIDE)
        panel(WIDE, mode, shape, m, n_k, a, ai, ak, b + j * LANES, ldb, c + j * LANES, ldc, j * LANES);
    const real *rest_b = b + j * LANES;
    real *rest_c = c + j * LANES;
#if WIDE > 2
    if (vecs - j == 3) panel(3, mode, shape, m, n_k, a, ai, ak, rest_b, ldb, rest_c, ldc, j * LANES);
    else if (vecs - j == 2) panel(2, mode, shape, m, n_k, a, ai, ak, rest_b, ldb, rest_c, ldc, j * LANES);
#endif
    if (vecs - j == 1) panel(1, mode, shape, m, n_k, a, ai, ak, rest_b, ldb, rest_c, ldc, j * LANES);
}

static void multiply(int shape, long m, long n, long n_k, const real *a, long ai, long ak, const real *b, long ldb, real *c, long ldc) {
    product(SET, shape, m, n, n_k, a, ai, ak, b, ldb, c, ldc);
}
static void add_product(int shape, long m, long n, long n_k, const real *a, long ai, long ak, const real *b, long ldb, real *c,
                        long ldc) {
    product(ADD, shape, m, n, n_k, a, ai, ak, b, ldb, c, ldc);
}
static void subtract_product(int shape, long m, long n, long n_k, const real *a, long ai, long ak, const real *b, long ldb, real *c,
                             long ldc) {
    product(SUB, shape, m, n, n_k, a, ai, ak, b, ldb, c, ldc);
}

/* out = factor x + more y, row by row as rows of `n` (padding included) */
INLINE void combine(real *out, real factor, const real *x, real more, const real *y, long n) {
    for (long j = 0; j < n; j += LANES) store(out + j, factor * load(x + j) + more * load(y + j));
}
INLINE void scaled(real *out, real factor, const real *x, long n) {
    for (long j = 0; j < n; j += LANES) store(out + j, factor * load(x + j));
}
INLINE real dot(const real *x, const real *y, long n) {
    vec sum = {0};
    long j = 0;
    for (; j + LANES <= n; j += LANES) sum += load(x + j) * load(y + j);
    real total = 0;
    for (int lane = 0; lane < LANES; lane++) total += sum[lane];
    for (; j < n; j++) total += x[j] * y[j];
    return total;
}
INLINE double wide_dot(const real *x, const real *y, long n) {
    wide sum = {0};
    long j = 0;
    for (; j + WIDE_LANES <= n; j += WIDE_LANES) sum += widened(x + j) * widened(y + j);
    double total = 0;
    for (int lane = 0; lane < WIDE_LANES; lane++) total += sum[lane];
    for (; j < n; j++) total += (double)x[j] * y[j];
    return total;
}
static void transpose(long rows, long columns, const real *x, long ldx, real *out, long ldo) {
    for (long i0 = 0; i0 < rows; i0 += 8)
        for (long j = 0; j < columns; j++) {
            long last = at_most(rows, i0 + 8);
            for (long i = i0; i < last; i++) out[j * ldo + i] = x[i * ldx + j];
        }
}
INLINE void fetch(real *out, long ldo, const real *x, long stride, long rows, long n) {
    for (long t = 0; t < rows; t++) memcpy(out + t * ldo, x + t * stride, n * sizeof(real));
}
INLINE void deliver(real *out, long stride, const real *x, long ldx, long rows, long n) {
    for (long t = 0; t < rows; t++) memcpy(out + t * stride, x + t * ldx, n * sizeof(real));
}

/* Where the next piece of a block begins, after one of n reals at `used`; in a build for tests nobody may touch what is between. */
INLINE long behind(real *memory, long used, long n) {
    used += aligned(n);
#ifdef __SANITIZE_ADDRESS__
    if (memory) ASAN_POISON_MEMORY_REGION(memory + used, 64 * sizeof(real));
    used += 64;
#else
    (void)memory;
#endif
    return used;
}

/* One block of `size` for each thread, zeroed: padding is read, though never into a result. */
static real *blocks(long threads, long size) {
    size_t bytes = (size_t)(threads * size) * sizeof(real);
    real *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}


/* e^x to about one unit in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] */
INLINE vec exponential(vec x) {
    if (sizeof(real) == 8) {
        for (int lane = 0; lane < LANES; lane++) x[lane] = (real)exp((double)x[lane]);
        return x;
    }
    typedef int ivec __attribute__((vector_size(VECTOR_BYTES)));
    typedef float fvec __attribute__((vector_size(VECTOR_BYTES)));
    fvec v;
    memcpy(&v, &x, sizeof v);
    ivec low = v < -87.0f, high = v > 88.0f; /* all ones where true */
    v = (fvec)(((ivec)v & ~(low | high)) | ((ivec)((fvec){0} - 87.0f) & low) | ((ivec)((fvec){0} + 88.0f) & high));
    fvec shifted = v * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    fvec r = (v - n * 0.693359375f) + n * 2.12194440e-4f;
    fvec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    fvec power = (fvec)(((ivec)shifted << 23) + (ivec)p);
    memcpy(&x, &power, sizeof power);
    return x;
}

/* out = f(x), a few at a time; the last of them may lie in a shorter vector */
#define BY_FEW(name, f)                                          \
    static void name(real *out, const real *x, long n) {         \
        long j = 0;                                              \
        for (; j + LANES <= n; j += LANES) {                     \
            vec few = load(x + j);                               \
            store(out + j, f);                                   \
        }                                                        \
        if (j < n) {                                             \
            vec few = {0};                                       \
            memcpy(&few, x + j, (n - j) * sizeof(real));         \
            few = f;                                             \
            memcpy(out + j, &few, (n - j) * sizeof(real));       \
        }                                                        \
    }

/* ln(1 + e^x) = max(x, 0) + ln(1 + y), y = e^-|x|; ln(1 + y) = 2 artanh(y / (2 + y)), whose argument is at most 1/3 */
INLINE vec bent(vec x) {
    vec above;
    for (int lane = 0; lane < LANES; lane++) above[lane] = x[lane] > 0 ? x[lane] : 0;
    vec y = exponential(x - 2 * above), s = y / (2 + y), s2 = s * s, sum = (vec){0} + (real)(1.0 / 15);
    for (int odd = 13; odd >= 1; odd -= 2) sum = sum * s2 + (real)(1.0 / odd);
    if (sizeof(real) == 8)
        for (int lane = 0; lane < LANES; lane++) y[lane] = (real)log1p((double)y[lane]);
    else y = 2 * s * sum;
    return above + y;
}

BY_FEW(exponentials, exponential(few))
BY_FEW(sigmoids, 1 / (1 + exponential(-few)))
BY_FEW(softpluses, bent(few))

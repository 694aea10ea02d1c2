/* The gated delta rule on a CPU: one head of one sequence at a time, chunk by chunk, with everything of a chunk in cache.

The equations, forward and backward, are those at the head of chunked.py, with the same names: A, E, U, P, X, M, gamma, c, D.
Row by row, D is what the row above it held times the row's own decay, in fp64 and rounded once: never a difference of long sums.

Every matrix product is C (+|-)= A B with rows of B and C contiguous and padded to whole vectors; A may be transposed or
triangular, in which case what is zero is skipped. What lies in the padding is never read into a result.

Compiled at run time for the machine it runs on (native.py); REAL is float or double.
Sizes: T tokens, C tokens of a chunk, K key channels, V value channels; KP, VP, CP the same padded. */

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
#define WIDE 4 /* vectors of a tile; with 6 rows it fills the registers */
#define INLINE static inline __attribute__((always_inline))

typedef real vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
enum { LANES = VECTOR_BYTES / sizeof(real) };
enum { WHOLE, LOWER, UPPER, LOWER_OUT }; /* what is zero: nothing, A above its diagonal, A below it; what is wanted: C up to it */
enum { SET, ADD, SUB };

INLINE long padded(long n) { return (n + LANES - 1) / LANES * LANES; }
INLINE long aligned(long n) { return (n + 63) / 64 * 64; }
INLINE long at_most(long a, long b) { return a < b ? a : b; }
INLINE vec load(const real *p) { return *(const vec *)p; }
INLINE void store(real *p, vec x) { *(vec *)p = x; }

/* rows x vecs of C; A(i, k) = a[i ai + k ak], k in [from, to) */
INLINE void tile(const int rows, const int vecs, const int mode, long from, long to, const real *a, long ai, long ak, const real *b,
                 long ldb, real *c, long ldc) {
    vec sum[12][WIDE];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) sum[i][j] = (vec){0};
    for (long k = from; k < to; k++) {
        vec row[WIDE];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) row[j] = load(b + k * ldb + j * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++) sum[i][j] += a[i * ai + k * ak] * row[j];
    }
    /* The sum is made first and added once: its partial sums are smaller than C, and so are their rounding errors. */
#pragma GCC unroll 12
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
    const int most = vecs <= 2 ? 12 : 6;
    for (long i = 0, rows; i < m; i += rows) {
        long left = m - i;
        rows = left >= most ? most : left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        if (shape == LOWER_OUT && column > i + rows - 1) continue;
        long from = shape == UPPER ? i : 0, to = shape == LOWER ? at_most(n_k, i + rows) : n_k;
        const real *at = a + i * ai;
        real *out = c + i * ldc;
        if (rows == 12) tile(12, vecs <= 2 ? vecs : 1, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else if (rows == 6) tile(6, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
        else if (rows == 4) tile(4, vecs, mode, from, to, at, ai, ak, b, ldb, out, ldc);
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
    if (vecs - j == 3) panel(3, mode, shape, m, n_k, a, ai, ak, rest_b, ldb, rest_c, ldc, j * LANES);
    else if (vecs - j == 2) panel(2, mode, shape, m, n_k, a, ai, ak, rest_b, ldb, rest_c, ldc, j * LANES);
    else if (vecs - j == 1) panel(1, mode, shape, m, n_k, a, ai, ak, rest_b, ldb, rest_c, ldc, j * LANES);
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

typedef struct {
    long batch, tokens, heads, keys, values, chunk, threads; /* C is at most `chunk` */
    double scale;
    long q[3], k[3], v[3], log_decay[3], beta[3]; /* strides in elements along batch, token, head; channels lie side by side */
} Call;

/* Everything of one chunk. Rows are tokens unless said otherwise. */
typedef struct {
    long C, K, V, KP, VP, CP;
    real scale, *gamma, *beta;
    double *kept; /* the row of D at hand */
    real *q, *k, *kt, *D, *KK, *A, *P, *E, *KS, *QS, *U;        /* kt: K rows; KK: (K K^T) D below the diagonal */
    real *dO, *dU, *fe, *ao, *ut, *st, *dst, *dA, *dP, *dq, *dk; /* backward only; fe = beta gamma X, ao = s gamma dO */
    real *rows, *columns, *reach, *mix;
} Work;

static long carve(Work *w, real *memory, const Call *call, int backward) {
    long C = call->chunk, K = call->keys, V = call->values, KP = padded(K), VP = padded(V), CP = padded(C), used = 0;
    w->K = K, w->V = V, w->KP = KP, w->VP = VP, w->CP = CP, w->scale = (real)call->scale;
#define TAKE(name, n) w->name = memory ? memory + used : 0, used += aligned(n)
    w->kept = (double *)memory, used = aligned(C) * (long)(sizeof(double) / sizeof(real));
    TAKE(gamma, CP), TAKE(beta, CP);
    TAKE(q, C * KP), TAKE(k, C * KP), TAKE(kt, K * CP), TAKE(mix, (C > K ? C : K) * (KP > VP ? KP : VP));
    TAKE(D, C * CP), TAKE(KK, C * CP), TAKE(A, C * CP), TAKE(P, C * CP);
    TAKE(E, C * VP), TAKE(KS, C * VP), TAKE(QS, C * VP), TAKE(U, C * VP);
    if (backward) {
        TAKE(dO, C * VP), TAKE(dU, C * VP), TAKE(fe, C * VP), TAKE(ao, C * VP), TAKE(ut, V * CP);
        TAKE(st, V * KP), TAKE(dst, V * KP), TAKE(dA, C * CP), TAKE(dP, C * CP), TAKE(dq, C * KP), TAKE(dk, C * KP);
        TAKE(rows, CP), TAKE(columns, CP), TAKE(reach, CP);
    }
#undef TAKE
    return used;
}

/* D, A, P, E, U of one chunk from its inputs and the state before it, [K][VP] */
static void prepare(Work *w, const Call *call, const real *q, const real *k, const real *v, const real *log_decay, const real *beta,
                    const real *S) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP, CP = w->CP;
    fetch(w->q, KP, q, call->q[1], C, K);
    fetch(w->k, KP, k, call->k[1], C, K);
    fetch(w->E, VP, v, call->v[1], C, V);
    transpose(C, K, w->k, KP, w->kt, CP);
    multiply(LOWER_OUT, C, C, K, w->k, KP, 1, w->kt, CP, w->KK, CP);
    multiply(LOWER_OUT, C, C, K, w->q, KP, 1, w->kt, CP, w->P, CP);
    multiply(WHOLE, C, V, K, w->k, KP, 1, S, VP, w->KS, VP);
    multiply(WHOLE, C, V, K, w->q, KP, 1, S, VP, w->QS, VP);
    double passed = 1;
    for (long t = 0; t < C; t++) {
        double decay = exp((double)log_decay[t * call->log_decay[1]]);
        real write = beta[t * call->beta[1]];
        real *D = w->D + t * CP, *KK = w->KK + t * CP, *A = w->A + t * CP, *P = w->P + t * CP;
        passed *= decay;
        w->gamma[t] = (real)passed, w->beta[t] = write, w->kept[t] = D[t] = 1;
        for (long s = 0; s < t; s++) w->kept[s] *= decay, D[s] = (real)w->kept[s];
        for (long s = t + 1; s < CP; s++) D[s] = 0;
        for (long s = t; s < CP; s++) KK[s] = A[s] = 0;
        for (long s = 0; s < t; s++) KK[s] *= D[s], A[s] = write * KK[s];
        for (long s = 0; s <= t; s++) P[s] *= w->scale * D[s];
        for (long s = t + 1; s < CP; s++) P[s] = 0;
        combine(w->E + t * VP, 1, w->E + t * VP, -w->gamma[t], w->KS + t * VP, VP);
        scaled(w->U + t * VP, write, w->E + t * VP, VP);
    }
    /* U <- (I + A)^-1 U, eight rows at a time */
    for (long from = 0; from < C; from += 8) {
        long to = at_most(C, from + 8);
        if (from) subtract_product(WHOLE, to - from, V, from, w->A + from * CP, CP, 1, w->U, VP, w->U + from * VP, VP);
        for (long t = from + 1; t < to; t++)
            subtract_product(WHOLE, 1, V, t - from, w->A + t * CP + from, CP, 1, w->U + from * VP, VP, w->U + t * VP, VP);
    }
}

/* S <- gamma_C S + (c K)^T U */
static void advance(Work *w, real *S) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP;
    const real *c = w->D + (C - 1) * w->CP;
    for (long t = 0; t < C; t++) scaled(w->mix + t * KP, c[t], w->k + t * KP, KP);
    scaled(S, w->gamma[C - 1], S, K * VP);
    add_product(WHOLE, K, V, C, w->mix, 1, KP, w->U, VP, S, VP);
}

static void read_out(Work *w, real *out, long stride) {
    long C = w->C, V = w->V, VP = w->VP;
    for (long t = 0; t < C; t++) scaled(w->QS + t * VP, w->scale * w->gamma[t], w->QS + t * VP, VP);
    add_product(LOWER, C, V, C, w->P, w->CP, 1, w->U, VP, w->QS, VP);
    deliver(out, stride, w->QS, VP, C, V);
}

/* From dO and dS' of one chunk to the gradients of its inputs; dS [K][VP] becomes dS0. */
static void turn_back(Work *w, const Call *call, const real *S, real *dS, const real *d_out, real *d_q, real *d_k, real *d_v,
                      real *d_log_decay, real *d_beta) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP, CP = w->CP, H = call->heads;
    const real *c = w->D + (C - 1) * CP, last = w->gamma[C - 1];
    real *X = w->dU, reached = 0;
    fetch(w->dO, VP, d_out, H * V, C, V);
    multiply(WHOLE, C, V, K, w->k, KP, 1, dS, VP, w->dU, VP);
    for (long t = 0; t < C; t++) {
        scaled(w->dU + t * VP, c[t], w->dU + t * VP, VP);
        w->reach[t] = dot(w->dU + t * VP, w->U + t * VP, V);
        reached += w->reach[t];
    }
    add_product(UPPER, C, V, C, w->P, 1, CP, w->dO, VP, w->dU, VP);
    /* X = (I + A)^-T dU, from the last rows up */
    for (long to = C; to > 0; to -= at_most(to, 8)) {
        long from = to - at_most(to, 8);
        if (to < C) subtract_product(WHOLE, to - from, V, C - to, w->A + to * CP + from, 1, CP, X + to * VP, VP, X + from * VP, VP);
        for (long t = to - 2; t >= from; t--)
            subtract_product(WHOLE, 1, V, to - t - 1, w->A + (t + 1) * CP + t, 1, CP, X + (t + 1) * VP, VP, X + t * VP, VP);
    }
    transpose(C, V, w->U, VP, w->ut, CP);
    multiply(LOWER_OUT, C, C, V, X, VP, 1, w->ut, CP, w->dA, CP); /* its sign is turned below */
    multiply(LOWER_OUT, C, C, V, w->dO, VP, 1, w->ut, CP, w->dP, CP);
    memset(w->columns, 0, CP * sizeof(real));
    for (long t = 0; t < C; t++) {
        real *dA = w->dA + t * CP, *dP = w->dP + t * CP, *D = w->D + t * CP, *A = w->A + t * CP, *P = w->P + t * CP;
        real row = 0, write = 0, *KK = w->KK + t * CP, beta = w->beta[t];
        for (long s = t; s < CP; s++) dA[s] = 0;
        for (long s = t + 1; s < CP; s++) dP[s] = 0;
        for (long s = 0; s < CP; s += LANES) {
            vec a = -load(dA + s), p = load(dP + s), through = a * load(A + s) + p * load(P + s), over = a * load(KK + s);
            store(w->columns + s, load(w->columns + s) + through);
            for (int lane = 0; lane < LANES; lane++) row += through[lane], write += over[lane];
            store(dA + s, beta * a * load(D + s));
            store(dP + s, w->scale * p * load(D + s));
        }
        d_beta[t * H] = write + dot(X + t * VP, w->E + t * VP, V);
        scaled(w->fe + t * VP, beta * w->gamma[t], X + t * VP, VP);
        scaled(w->ao + t * VP, w->scale * w->gamma[t], w->dO + t * VP, VP);
        w->rows[t] = row - dot(w->fe + t * VP, w->KS + t * VP, V) + dot(w->ao + t * VP, w->QS + t * VP, V) - w->reach[t];
        scaled(w->mix, beta, X + t * VP, VP);
        memcpy(d_v + t * H * V, w->mix, V * sizeof(real));
    }
    real held = 0;
    for (long i = 0; i < K; i++) held += dot(dS + i * VP, S + i * VP, V);
    real total = reached + last * held;
    for (long t = C - 1; t >= 0; t--) total += w->rows[t] - w->columns[t], d_log_decay[t * H] = total;

    transpose(K, V, S, VP, w->st, KP);
    transpose(K, V, dS, VP, w->dst, KP);
    multiply(WHOLE, C, K, V, w->ao, VP, 1, w->st, KP, w->dq, KP);
    add_product(LOWER, C, K, C, w->dP, CP, 1, w->k, KP, w->dq, KP);
    deliver(d_q, H * K, w->dq, KP, C, K);
    for (long t = 0; t < C; t++) scaled(w->mix + t * VP, c[t], w->U + t * VP, VP);
    multiply(WHOLE, C, K, V, w->mix, VP, 1, w->dst, KP, w->dk, KP);
    subtract_product(WHOLE, C, K, V, w->fe, VP, 1, w->st, KP, w->dk, KP);
    add_product(LOWER, C, K, C, w->dA, CP, 1, w->k, KP, w->dk, KP);
    add_product(UPPER, C, K, C, w->dA, 1, CP, w->k, KP, w->dk, KP);
    add_product(UPPER, C, K, C, w->dP, 1, CP, w->q, KP, w->dk, KP);
    deliver(d_k, H * K, w->dk, KP, C, K);
    scaled(dS, last, dS, K * VP);
    add_product(WHOLE, K, V, C, w->q, 1, KP, w->ao, VP, dS, VP);
    subtract_product(WHOLE, K, V, C, w->k, 1, KP, w->fe, VP, dS, VP);
}

#define OF(name, b, t, h) (name + (b) * call->name[0] + (t) * call->name[1] + (h) * call->name[2])

/* One block of `size` for each thread, zeroed: padding is read, though never into a result. */
static real *blocks(long threads, long size) {
    size_t bytes = (size_t)(threads * size) * sizeof(real);
    real *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

/* out [B, T, H, V], after [B, H, K, V]; starts [B H, chunks - 1, K, V] receives the state before each chunk but the first, or is 0.
   Returns 0, or 1 if there is no memory. */
int gated_delta_rule_forward(const Call *call, const real *q, const real *k, const real *v, const real *log_decay, const real *beta,
                             const real *state, real *out, real *after, real *starts) {
    Work sizes;
    long H = call->heads, T = call->tokens, K = call->keys, V = call->values, VP = padded(V);
    long n_chunks = (T + call->chunk - 1) / call->chunk, used = carve(&sizes, 0, call, 0), size = aligned(used + K * VP);
    real *memory = blocks(call->threads, size);
    if (!memory) return 1;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (long n = 0; n < call->batch * H; n++) {
        Work w;
        long b = n / H, h = n % H;
        real *own = memory + THREAD * size, *S = own + used;
        carve(&w, own, call, 0);
        fetch(S, VP, state + n * K * V, V, K, V);
        for (long chunk = 0, t = 0; t < T; chunk++, t += w.C) {
            w.C = at_most(call->chunk, T - t);
            if (starts && chunk) deliver(starts + (n * (n_chunks - 1) + chunk - 1) * K * V, V, S, VP, K, V);
            prepare(&w, call, OF(q, b, t, h), OF(k, b, t, h), OF(v, b, t, h), OF(log_decay, b, t, h), OF(beta, b, t, h), S);
            read_out(&w, out + ((b * T + t) * H + h) * V, H * V);
            advance(&w, S);
        }
        deliver(after + n * K * V, V, S, VP, K, V);
    }
    free(memory);
    return 0;
}

/* Gradients: d_q, d_k [B, T, H, K], d_v [B, T, H, V], d_log_decay, d_beta [B, T, H], d_state [B, H, K, V]. */
int gated_delta_rule_backward(const Call *call, const real *q, const real *k, const real *v, const real *log_decay, const real *beta,
                              const real *state, const real *starts, const real *d_out, const real *d_after, real *d_q, real *d_k,
                              real *d_v, real *d_log_decay, real *d_beta, real *d_state) {
    Work sizes;
    long H = call->heads, T = call->tokens, K = call->keys, V = call->values, VP = padded(V);
    long n_chunks = (T + call->chunk - 1) / call->chunk, used = carve(&sizes, 0, call, 1), size = aligned(used + 2 * K * VP);
    real *memory = blocks(call->threads, size);
    if (!memory) return 1;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (long n = 0; n < call->batch * H; n++) {
        Work w;
        long b = n / H, h = n % H;
        real *own = memory + THREAD * size, *S = own + used, *dS = S + K * VP;
        carve(&w, own, call, 1);
        fetch(dS, VP, d_after + n * K * V, V, K, V);
        for (long chunk = n_chunks - 1; chunk >= 0; chunk--) {
            long t = chunk * call->chunk, at = (b * T + t) * H + h;
            w.C = at_most(call->chunk, T - t);
            fetch(S, VP, chunk ? starts + (n * (n_chunks - 1) + chunk - 1) * K * V : state + n * K * V, V, K, V);
            prepare(&w, call, OF(q, b, t, h), OF(k, b, t, h), OF(v, b, t, h), OF(log_decay, b, t, h), OF(beta, b, t, h), S);
            turn_back(&w, call, S, dS, d_out + at * V, d_q + at * K, d_k + at * K, d_v + at * V, d_log_decay + at, d_beta + at);
        }
        deliver(d_state + n * K * V, V, dS, VP, K, V);
    }
    free(memory);
    return 0;
}

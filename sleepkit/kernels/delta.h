/* The gated delta rule on a CPU: one head of one sequence at a time, chunk by chunk, with everything of a chunk in cache.

The equations, forward and backward, are those at the head of chunked.py, with the same names: B, E, W, U, P, X, M, gamma, c, D.
Row by row, D is what the row above it held times the row's own decay, in fp64 and rounded once: never a difference of long sums.

Sizes: T tokens, C tokens of a chunk, K key channels, V value channels; KP, VP, CP the same padded. */

#pragma once
#include "vector.h"

typedef struct {
    long batch, tokens, heads, keys, values, chunk, threads; /* C is at most `chunk` */
    double scale;
    long q[3], k[3], v[3], log_decay[3], beta[3]; /* strides in elements along batch, token, head; channels lie side by side */
} Call;

/* Everything of one chunk. Rows are tokens unless said otherwise. */
typedef struct {
    long C, K, V, KP, VP, CP;
    real scale, *gamma, *beta;
    double *kept, *solved, *B, *P;                   /* the row of D at hand; the columns of a solve at hand; below the diagonal */
    real *q, *k, *kt, *D, *scores, *W, *KS, *QS, *U, *O; /* kt: K rows; scores: P rounded, 0 above the diagonal; W: first E */
    double *dB, *dP, *crossing, *earlier;            /* backward only, as all that follows; with the sign of dB turned */
    real *dO, *X, *Z, *fe, *ao, *ut, *st, *dst, *by_keys, *by_scores, *dq, *dk; /* X: first dU; fe = gamma Z, ao = s gamma dO */
    real *mix;
} Work;

static long carve(Work *w, real *memory, const Call *call, int backward) {
    long C = call->chunk, K = call->keys, V = call->values, KP = padded(K), VP = padded(V), CP = padded(C), used = 0;
    w->K = K, w->V = V, w->KP = KP, w->VP = VP, w->CP = CP, w->scale = (real)call->scale;
#define TAKE(name, n) w->name = memory ? memory + used : 0, used = behind(memory, used, n)
#define TAKE_WIDE(name, n) \
    w->name = memory ? (double *)(memory + used) : 0, used = behind(memory, used, (n) * (long)(sizeof(double) / sizeof(real)))
    TAKE_WIDE(kept, C), TAKE_WIDE(solved, C * LANES), TAKE_WIDE(B, C * CP), TAKE_WIDE(P, C * CP);
    if (backward) TAKE_WIDE(dB, C * CP), TAKE_WIDE(dP, C * CP), TAKE_WIDE(crossing, C), TAKE_WIDE(earlier, C);
    TAKE(gamma, CP), TAKE(beta, CP);
    TAKE(q, C * KP), TAKE(k, C * KP), TAKE(kt, K * CP), TAKE(mix, (C > K ? C : K) * (KP > VP ? KP : VP));
    TAKE(D, C * CP), TAKE(scores, C * CP);
    TAKE(W, C * VP), TAKE(KS, C * VP), TAKE(QS, C * VP), TAKE(U, C * VP), TAKE(O, C * VP);
    if (backward) {
        TAKE(dO, C * VP), TAKE(X, C * VP), TAKE(Z, C * VP), TAKE(fe, C * VP), TAKE(ao, C * VP), TAKE(ut, V * CP);
        TAKE(st, V * KP), TAKE(dst, V * KP), TAKE(by_keys, C * CP), TAKE(by_scores, C * CP), TAKE(dq, C * KP), TAKE(dk, C * KP);
    }
#undef TAKE
#undef TAKE_WIDE
    return used;
}

enum { FEW = 4 }; /* rows that are summed side by side in fp64 */

/* out = A B up to the diagonal and a little beyond, summed in fp64; A [C][lda], B [n_k][CP].

Products of tokens with tokens are many, and much of what they add cancels where keys repeat. */
static void pairs(const Work *w, long n_k, const real *a, long lda, const real *b, double *out) {
    long C = w->C, CP = w->CP;
    for (long t = 0; t < C; t += FEW)
        for (long s = 0; s < t + FEW && s < CP; s += LANES) {
            wide sum[FEW][HALVES] = {0};
            for (long k = 0; k < n_k; k++)
                for (int half = 0; half < HALVES; half++) {
                    wide row_of_b = widened(b + k * CP + s + half * WIDE_LANES);
                    for (int row = 0; row < FEW; row++) sum[row][half] += (double)a[at_most(t + row, C - 1) * lda + k] * row_of_b;
                }
            for (int row = 0; row < FEW && t + row < C; row++)
                for (int half = 0; half < HALVES; half++) *(wide *)(out + (t + row) * CP + s + half * WIDE_LANES) = sum[row][half];
        }
}

/* y_t = x_t - sum_s B_ts beta_s y_s over the rows s above t, and z = beta y; `up`: B_st and the rows below. x may be y.

In fp64: where keys repeat and beta is near 2 these sums are long and change their sign with every token. */
static void solve(Work *w, int up, const real *x, real *y, real *z) {
    long C = w->C, VP = w->VP, last = up ? C - 1 : 0, step = up ? -1 : 1, bi = up ? -1 : w->CP, bk = up ? -w->CP : 1;
    const double *B = w->B + last * (w->CP + 1);
    for (long j = 0; j < VP; j += LANES)
        for (long first = 0; first < C; first += FEW) {
            wide sum[FEW][HALVES], *solved = (wide *)w->solved;
            for (int row = 0; row < FEW; row++)
                for (int half = 0; half < HALVES; half++)
                    sum[row][half] = widened(x + (last + step * at_most(first + row, C - 1)) * VP + j + half * WIDE_LANES);
            for (long k = 0; k < first; k++)
                for (int row = 0; row < FEW; row++) {
                    double factor = B[at_most(first + row, C - 1) * bi + k * bk];
                    for (int half = 0; half < HALVES; half++) sum[row][half] -= factor * solved[k * HALVES + half];
                }
            for (int row = 0; row < FEW && first + row < C; row++) {
                long t = last + step * (first + row);
                for (int above = 0; above < row; above++)
                    for (int half = 0; half < HALVES; half++)
                        sum[row][half] -= B[(first + row) * bi + (first + above) * bk] * solved[(first + above) * HALVES + half];
                for (int half = 0; half < HALVES; half++) {
                    wide scaled_row = (double)w->beta[t] * sum[row][half];
                    solved[(first + row) * HALVES + half] = scaled_row;
                    store_narrowed(y + t * VP + j + half * WIDE_LANES, sum[row][half]);
                    store_narrowed(z + t * VP + j + half * WIDE_LANES, scaled_row);
                }
            }
        }
}

/* D, B, P, W, U of one chunk from its inputs and the state before it, [K][VP] */
static void prepare(Work *w, const Call *call, const real *q, const real *k, const real *v, const real *log_decay, const real *beta,
                    const real *S) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP, CP = w->CP;
    fetch(w->q, KP, q, call->q[1], C, K);
    fetch(w->k, KP, k, call->k[1], C, K);
    fetch(w->W, VP, v, call->v[1], C, V);
    transpose(C, K, w->k, KP, w->kt, CP);
    pairs(w, K, w->k, KP, w->kt, w->B);
    pairs(w, K, w->q, KP, w->kt, w->P);
    multiply(WHOLE, C, V, K, w->k, KP, 1, S, VP, w->KS, VP);
    multiply(WHOLE, C, V, K, w->q, KP, 1, S, VP, w->QS, VP);
    double passed = 1;
    for (long t = 0; t < C; t++) {
        double decay = exp((double)log_decay[t * call->log_decay[1]]), *B = w->B + t * CP, *P = w->P + t * CP, *kept = w->kept;
        real *D = w->D + t * CP, *scores = w->scores + t * CP;
        passed *= decay;
        w->gamma[t] = (real)passed, w->beta[t] = beta[t * call->beta[1]], kept[t] = 1;
        for (long s = 0; s < t; s++) kept[s] *= decay, B[s] *= kept[s];
        for (long s = 0; s <= t; s++) P[s] *= call->scale * kept[s], D[s] = (real)kept[s], scores[s] = (real)P[s];
        for (long s = t + 1; s < CP; s++) D[s] = scores[s] = 0;
        combine(w->W + t * VP, 1, w->W + t * VP, -w->gamma[t], w->KS + t * VP, VP);
    }
    solve(w, 0, w->W, w->W, w->U);
}

/* S <- gamma_C S + (c K)^T U */
static void advance(Work *w, real *S) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP;
    const real *c = w->D + (C - 1) * w->CP;
    for (long t = 0; t < C; t++) scaled(w->mix + t * KP, c[t], w->k + t * KP, KP);
    scaled(S, w->gamma[C - 1], S, K * VP);
    add_product(WHOLE, K, V, C, w->mix, 1, KP, w->U, VP, S, VP);
}

/* O of one chunk */
static void read_out(Work *w) {
    long C = w->C, V = w->V, VP = w->VP;
    for (long t = 0; t < C; t++) scaled(w->O + t * VP, w->scale * w->gamma[t], w->QS + t * VP, VP);
    add_product(LOWER, C, V, C, w->scores, w->CP, 1, w->U, VP, w->O, VP);
}

/* Distance between the tokens of what backward is given and what it gives. */
typedef struct {
    long q, v, out, gate; /* d_q and d_k; d_v; d_out; d_log_decay and d_beta */
} Rows;

/* Gradients of the log decays from all that a decay stands in: D_ts for s < t' <= t, gamma_t for t >= t', c_s for s < t', gamma_C.

Each is gathered as it is. Sums of rows less sums of columns would leave the rounding of what cancels, and where decays are strong
that is all there is. On the way: gradients of K K^T and Q K^T. */
static void gather_decays(Work *w, const Rows *rows, double held, real *d_log_decay) {
    long C = w->C, V = w->V, VP = w->VP, CP = w->CP;
    double later = held, *crossing = w->crossing;
    for (long t = 0; t < C; t++) crossing[t] = 0;
    for (long t = C - 1; t >= 0; t--) {
        const double *dB = w->dB + t * CP, *dP = w->dP + t * CP, *B = w->B + t * CP, *P = w->P + t * CP;
        real *D = w->D + t * CP, *by_keys = w->by_keys + t * CP, *by_scores = w->by_scores + t * CP;
        double crossed = 0;
#pragma omp simd reduction(+ : crossed)
        for (long s = 0; s < t; s++) crossing[s] += dP[s] * P[s] - dB[s] * B[s], crossed += crossing[s];
        for (long s = 0; s < t; s++) by_keys[s] = -(real)dB[s] * D[s];
        for (long s = 0; s <= t; s++) by_scores[s] = w->scale * (real)dP[s] * D[s];
        for (long s = t; s < CP; s++) by_keys[s] = 0;
        for (long s = t + 1; s < CP; s++) by_scores[s] = 0;
        later += wide_dot(w->ao + t * VP, w->QS + t * VP, V) - wide_dot(w->fe + t * VP, w->KS + t * VP, V);
        d_log_decay[t * rows->gate] = (real)(later + w->earlier[t] + crossed);
    }
}

/* From dO and dS' of one chunk to the gradients of its inputs; dS [K][VP] becomes dS0. */
static void turn_back(Work *w, const Rows *rows, const real *S, real *dS, const real *d_out, real *d_q, real *d_k, real *d_v,
                      real *d_log_decay, real *d_beta) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP, CP = w->CP;
    const real *c = w->D + (C - 1) * CP, last = w->gamma[C - 1];
    double reached = 0, held = 0;
    fetch(w->dO, VP, d_out, rows->out, C, V);
    multiply(WHOLE, C, V, K, w->k, KP, 1, dS, VP, w->X, VP);
    for (long t = 0; t < C; t++) {
        scaled(w->X + t * VP, c[t], w->X + t * VP, VP);
        w->earlier[t] = reached, reached += wide_dot(w->X + t * VP, w->U + t * VP, V);
    }
    add_product(UPPER, C, V, C, w->scores, 1, CP, w->dO, VP, w->X, VP);
    solve(w, 1, w->X, w->X, w->Z);
    deliver(d_v, rows->v, w->Z, VP, C, V);
    transpose(C, V, w->U, VP, w->ut, CP);
    pairs(w, V, w->Z, VP, w->ut, w->dB);
    pairs(w, V, w->dO, VP, w->ut, w->dP);
    for (long t = 0; t < C; t++) {
        d_beta[t * rows->gate] = (real)wide_dot(w->X + t * VP, w->W + t * VP, V);
        scaled(w->fe + t * VP, w->gamma[t], w->Z + t * VP, VP);
        scaled(w->ao + t * VP, w->scale * w->gamma[t], w->dO + t * VP, VP);
    }
    for (long i = 0; i < K; i++) held += wide_dot(dS + i * VP, S + i * VP, V);
    gather_decays(w, rows, last * held, d_log_decay);

    transpose(K, V, S, VP, w->st, KP);
    transpose(K, V, dS, VP, w->dst, KP);
    multiply(WHOLE, C, K, V, w->ao, VP, 1, w->st, KP, w->dq, KP);
    add_product(LOWER, C, K, C, w->by_scores, CP, 1, w->k, KP, w->dq, KP);
    deliver(d_q, rows->q, w->dq, KP, C, K);
    for (long t = 0; t < C; t++) scaled(w->mix + t * VP, c[t], w->U + t * VP, VP);
    multiply(WHOLE, C, K, V, w->mix, VP, 1, w->dst, KP, w->dk, KP);
    subtract_product(WHOLE, C, K, V, w->fe, VP, 1, w->st, KP, w->dk, KP);
    add_product(LOWER, C, K, C, w->by_keys, CP, 1, w->k, KP, w->dk, KP);
    add_product(UPPER, C, K, C, w->by_keys, 1, CP, w->k, KP, w->dk, KP);
    add_product(UPPER, C, K, C, w->by_scores, 1, CP, w->q, KP, w->dk, KP);
    deliver(d_k, rows->q, w->dk, KP, C, K);
    scaled(dS, last, dS, K * VP);
    add_product(WHOLE, K, V, C, w->q, 1, KP, w->ao, VP, dS, VP);
    subtract_product(WHOLE, K, V, C, w->k, 1, KP, w->fe, VP, dS, VP);
}

/* The gated delta rule on a CPU: one head of one sequence at a time, chunk by chunk, with everything of a chunk in cache.

The equations, forward and backward, are those at the head of chunked.py, with the same names: A, E, U, P, X, M, gamma, c, D.
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
    double *kept; /* the row of D at hand */
    real *q, *k, *kt, *D, *KK, *A, *P, *E, *KS, *QS, *U, *O;    /* kt: K rows; KK: (K K^T) D below the diagonal */
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
    TAKE(E, C * VP), TAKE(KS, C * VP), TAKE(QS, C * VP), TAKE(U, C * VP), TAKE(O, C * VP);
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

/* O of one chunk */
static void read_out(Work *w) {
    long C = w->C, V = w->V, VP = w->VP;
    for (long t = 0; t < C; t++) scaled(w->O + t * VP, w->scale * w->gamma[t], w->QS + t * VP, VP);
    add_product(LOWER, C, V, C, w->P, w->CP, 1, w->U, VP, w->O, VP);
}

/* Distance between the tokens of what backward is given and what it gives. */
typedef struct {
    long q, v, out, gate; /* d_q and d_k; d_v; d_out; d_log_decay and d_beta */
} Rows;

/* From dO and dS' of one chunk to the gradients of its inputs; dS [K][VP] becomes dS0. */
static void turn_back(Work *w, const Rows *rows, const real *S, real *dS, const real *d_out, real *d_q, real *d_k, real *d_v,
                      real *d_log_decay, real *d_beta) {
    long C = w->C, K = w->K, V = w->V, KP = w->KP, VP = w->VP, CP = w->CP;
    const real *c = w->D + (C - 1) * CP, last = w->gamma[C - 1];
    real *X = w->dU, reached = 0;
    fetch(w->dO, VP, d_out, rows->out, C, V);
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
        d_beta[t * rows->gate] = write + dot(X + t * VP, w->E + t * VP, V);
        scaled(w->fe + t * VP, beta * w->gamma[t], X + t * VP, VP);
        scaled(w->ao + t * VP, w->scale * w->gamma[t], w->dO + t * VP, VP);
        w->rows[t] = row - dot(w->fe + t * VP, w->KS + t * VP, V) + dot(w->ao + t * VP, w->QS + t * VP, V) - w->reach[t];
        scaled(w->mix, beta, X + t * VP, VP);
        memcpy(d_v + t * rows->v, w->mix, V * sizeof(real));
    }
    real held = 0;
    for (long i = 0; i < K; i++) held += dot(dS + i * VP, S + i * VP, V);
    real total = reached + last * held;
    for (long t = C - 1; t >= 0; t--) total += w->rows[t] - w->columns[t], d_log_decay[t * rows->gate] = total;

    transpose(K, V, S, VP, w->st, KP);
    transpose(K, V, dS, VP, w->dst, KP);
    multiply(WHOLE, C, K, V, w->ao, VP, 1, w->st, KP, w->dq, KP);
    add_product(LOWER, C, K, C, w->dP, CP, 1, w->k, KP, w->dq, KP);
    deliver(d_q, rows->q, w->dq, KP, C, K);
    for (long t = 0; t < C; t++) scaled(w->mix + t * VP, c[t], w->U + t * VP, VP);
    multiply(WHOLE, C, K, V, w->mix, VP, 1, w->dst, KP, w->dk, KP);
    subtract_product(WHOLE, C, K, V, w->fe, VP, 1, w->st, KP, w->dk, KP);
    add_product(LOWER, C, K, C, w->dA, CP, 1, w->k, KP, w->dk, KP);
    add_product(UPPER, C, K, C, w->dA, 1, CP, w->k, KP, w->dk, KP);
    add_product(UPPER, C, K, C, w->dP, 1, CP, w->q, KP, w->dk, KP);
    deliver(d_k, rows->q, w->dk, KP, C, K);
    scaled(dS, last, dS, K * VP);
    add_product(WHOLE, K, V, C, w->q, 1, KP, w->ao, VP, dS, VP);
    subtract_product(WHOLE, K, V, C, w->k, 1, KP, w->fe, VP, dS, VP);
}

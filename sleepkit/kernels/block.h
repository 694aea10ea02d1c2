/* What a block of the model is made of: sizes, where its weights and activations lie, the room a thread works in, and the parts that
both mixers share: linear layers, norms, the activation of the MLP. Sizes are those of block.c. */

#pragma once
#include "delta.h"

enum { PARTS = 8 };
enum { QKV, OUT, UP, DOWN, GATE, DECAY_AND_BETA, MATRICES };
enum { MIXER_NORM = MATRICES, MLP_NORM, QUERY_NORM, KEY_NORM, CONV, HEAD_NORM, A_LOG, DT_BIAS, WEIGHTS };

typedef struct {
    long batch, tokens, sequences, chunk, threads; /* `sequences` of a tile, tokens of a `chunk` of the delta rule */
    long attention, whole, width, heads, keys, values, taps, hidden, gated;
    double norm_eps, unit_eps, beta_scale, scale;
} Block;

/* Where each weight lies, and each saved activation in a token's row; x of a whole vector is xP. */
typedef struct {
    const Block *b;
    long rows[WEIGHTS], columns[WEIGHTS], stride[WEIGHTS], at[WEIGHTS], weights;
    long channels, outs, gate, decay_and_beta, h1, up, saved; /* channels: q, k, v side by side; outs: of all heads; qkv lie at 0 */
    long EP, channelsP, unitP, outsP, hiddenP, upP, gatesP, tokensP, R, tiles;
} Plan;

static Plan plan_of(const Block *b) {
    long E = b->width, D = b->keys, fast = !b->attention, whole = b->whole, up = b->hidden * (1 + b->gated);
    Plan p = {.b = b, .channels = b->heads * (2 * b->keys + b->values), .outs = b->heads * b->values, .R = b->sequences * b->tokens};
    const long shapes[WEIGHTS][2] = {
        [QKV] = {p.channels, E}, [OUT] = {whole * E, p.outs}, [UP] = {whole * up, E}, [DOWN] = {whole * E, b->hidden},
        [GATE] = {fast * whole * p.outs, E}, [DECAY_AND_BETA] = {fast * 2 * b->heads, E}, [MIXER_NORM] = {1, E},
        [MLP_NORM] = {whole, E}, [QUERY_NORM] = {!fast, D}, [KEY_NORM] = {!fast, D}, [CONV] = {fast * b->taps, p.channels},
        [HEAD_NORM] = {fast * whole, b->values}, [A_LOG] = {fast, b->heads}, [DT_BIAS] = {fast, b->heads},
    };
    for (int i = 0; i < WEIGHTS; i++) {
        long rows = p.rows[i] = shapes[i][0], columns = p.columns[i] = shapes[i][1];
        p.stride[i] = padded(columns), p.at[i] = p.weights;
        long turned = i < MATRICES && rows ? columns * padded(rows) : 0;
        p.weights += aligned(rows * p.stride[i] > turned ? rows * p.stride[i] : turned);
    }
    p.EP = padded(E), p.channelsP = padded(p.channels), p.unitP = padded(2 * b->heads * b->keys), p.outsP = padded(p.outs);
    p.hiddenP = padded(b->hidden), p.upP = padded(up), p.gatesP = padded(2 * b->heads), p.tokensP = padded(b->tokens);
    p.gate = p.channelsP, p.decay_and_beta = p.gate + fast * whole * p.outsP, p.h1 = p.decay_and_beta + fast * p.gatesP;
    p.up = p.h1 + whole * p.EP, p.saved = p.up + whole * p.upP;
    p.tiles = (b->batch + b->sequences - 1) / b->sequences;
    return p;
}

/* Copy the weights to where the plan wants them; forward wants the matrices turned. */
static void pack(const Plan *p, const real *const *given, real *packed, int turned) {
    for (int i = 0; i < WEIGHTS; i++) {
        if (turned && i < MATRICES) transpose(p->rows[i], p->columns[i], given[i], p->columns[i], packed + p->at[i], padded(p->rows[i]));
        else fetch(packed + p->at[i], p->stride[i], given[i], p->columns[i], p->rows[i], p->columns[i]);
    }
}

/* What a thread works in. Names with d_ are gradients. [R]: rows of the tile; [T]: of the sequence at hand. */
typedef struct {
    const Plan *p;
    const real *weights, *cosine, *sine;
    const unsigned char *valid;
    real *saved, *x, *z, *y, *act, *sum;                           /* [R] */
    real *pre, *open, *mixed, *unit, *door, *decay, *beta, *slope; /* [T]; open: sigmoid of pre, door: of the gate; slope: of softplus */
    real *S, *none;
    real *kt, *vt, *P, *vh, *o, *d_o;                              /* one head of attention */
    real *part, *d_h, *d_act, *d_up, *d_y, *d_z, *d_qkv, *d_gate, *d_decay_and_beta; /* [R] */
    real *d_unit, *d_mixed, *d_decay, *d_beta, *d_out, *d_normed, *dS, *starts, *d_P, *d_head; /* [T] */
    Call call;
    Work w;
} Room;

static long furnish(Room *r, const Plan *p, real *memory, int backward) {
    const Block *b = p->b;
    long R = p->R, T = b->tokens, H = b->heads, K = b->keys, V = b->values, VP = padded(V), KP = padded(K), used = 0;
    r->p = p;
#define TAKE(name, n) r->name = memory ? memory + used : 0, used = behind(memory, used, (n) + 64) /* a last row is read a little beyond its end */
    TAKE(saved, R * p->saved), TAKE(x, R * p->EP), TAKE(sum, R * p->EP);
    if (b->whole) TAKE(z, R * p->outsP), TAKE(y, R * p->EP), TAKE(act, R * p->hiddenP);
    TAKE(unit, T * p->unitP), TAKE(mixed, T * p->channelsP);
    if (b->attention) {
        TAKE(kt, K * p->tokensP), TAKE(P, T * p->tokensP), TAKE(vh, T * VP), TAKE(o, T * VP);
    } else {
        TAKE(pre, T * p->channelsP), TAKE(open, T * p->channelsP), TAKE(door, T * p->outsP);
        TAKE(decay, T * H), TAKE(beta, T * H), TAKE(slope, T * H), TAKE(S, K * VP), TAKE(none, b->chunk * VP);
        long delta_rows[3] = {0, p->unitP, 0}, value_rows[3] = {0, p->channelsP, 0}, gate_rows[3] = {0, H, 0};
        r->call = (Call){.tokens = T, .heads = H, .keys = K, .values = V, .chunk = b->chunk, .scale = b->scale};
        memcpy(r->call.q, delta_rows, sizeof delta_rows), memcpy(r->call.k, delta_rows, sizeof delta_rows);
        memcpy(r->call.v, value_rows, sizeof value_rows);
        memcpy(r->call.log_decay, gate_rows, sizeof gate_rows), memcpy(r->call.beta, gate_rows, sizeof gate_rows);
        used += carve(&r->w, memory ? memory + used : 0, &r->call, backward);
    }
    if (backward) {
        TAKE(d_h, R * p->EP), TAKE(d_qkv, R * p->channelsP), TAKE(d_y, R * p->EP), TAKE(d_unit, T * p->unitP);
        if (b->whole) TAKE(d_act, R * p->hiddenP), TAKE(d_up, R * p->upP), TAKE(d_z, R * p->outsP);
        if (b->attention) {
            TAKE(vt, K * p->tokensP), TAKE(d_P, T * p->tokensP), TAKE(d_head, T * KP), TAKE(d_o, T * VP);
        } else {
            long chunks = (T + b->chunk - 1) / b->chunk;
            TAKE(d_gate, R * p->outsP), TAKE(d_decay_and_beta, R * p->gatesP), TAKE(d_mixed, T * p->channelsP);
            TAKE(d_decay, T * H), TAKE(d_beta, T * H), TAKE(d_out, b->chunk * VP), TAKE(d_normed, V), TAKE(dS, K * VP), TAKE(starts, chunks * K * VP);
        }
    }
#undef TAKE
    return aligned(used);
}

static const real *weight(const Room *r, int i) { return r->weights + r->p->at[i]; }

/* y = x . W, with the weights turned */
static void linear(const Room *r, int i, long rows, const real *x, long ldx, real *y, long ldy) {
    const Plan *p = r->p;
    multiply(WHOLE, rows, p->rows[i], p->columns[i], x, ldx, 1, weight(r, i), padded(p->rows[i]), y, ldy);
}
/* dx (+)= dy W, with the weights as they are */
static void linear_inputs(const Room *r, int i, int more, long rows, const real *dy, long ldy, real *dx, long ldx) {
    const Plan *p = r->p;
    if (more) add_product(WHOLE, rows, p->columns[i], p->rows[i], dy, ldy, 1, weight(r, i), p->stride[i], dx, ldx);
    else multiply(WHOLE, rows, p->columns[i], p->rows[i], dy, ldy, 1, weight(r, i), p->stride[i], dx, ldx);
}
/* dW += dy^T x */
static void linear_weights(const Room *r, int i, long rows, const real *dy, long ldy, const real *x, long ldx) {
    const Plan *p = r->p;
    add_product(WHOLE, p->rows[i], p->columns[i], rows, dy, 1, ldy, x, ldx, r->part + p->at[i], p->stride[i]);
}

INLINE real inverse_size(const real *x, long n, double scale, double eps) {
    return 1 / (real)sqrt((double)((real)scale * dot(x, x, n) + (real)eps));
}
/* y = x r w, r = (mean x^2 + eps)^-1/2 */
INLINE real normalise(real *y, const real *x, const real *w, long n, double eps) {
    real r = inverse_size(x, n, 1.0 / n, eps);
#pragma omp simd
    for (long j = 0; j < n; j++) y[j] = x[j] * r * w[j];
    return r;
}
/* dx += r (dy w - x r mean(dy w x r)), dw += dy x r; dy is overwritten */
INLINE void normalise_back(real *dx, real *dw, real *dy, const real *x, const real *w, long n, double eps) {
    real r = inverse_size(x, n, 1.0 / n, eps), along = 0;
#pragma omp simd reduction(+ : along)
    for (long j = 0; j < n; j++) {
        real unit = x[j] * r;
        dw[j] += dy[j] * unit, dy[j] *= w[j], along += dy[j] * unit;
    }
    along *= r / n;
#pragma omp simd
    for (long j = 0; j < n; j++) dx[j] += r * (dy[j] - along * x[j]);
}

static void activate(const Block *b, real *act, const real *up) {
    long n = b->hidden;
    if (!b->gated)
#pragma omp simd
        for (long j = 0; j < n; j++) {
            real kept = up[j] > 0 ? up[j] : 0;
            act[j] = kept * kept;
        }
    else {
        sigmoids(act, up, n);
#pragma omp simd
        for (long j = 0; j < n; j++) act[j] *= up[j] * up[n + j];
    }
}
/* act is overwritten */
static void activate_back(const Block *b, real *d_up, const real *d_act, real *act, const real *up) {
    long n = b->hidden;
    if (!b->gated)
#pragma omp simd
        for (long j = 0; j < n; j++) {
            real kept = up[j] > 0 ? up[j] : 0;
            d_up[j] = 2 * kept * d_act[j];
        }
    else {
        sigmoids(act, up, n);
#pragma omp simd
        for (long j = 0; j < n; j++) {
            real open = act[j];
            d_up[j] = d_act[j] * up[n + j] * open * (1 + up[j] * (1 - open)), d_up[n + j] = d_act[j] * up[j] * open;
        }
    }
}

/* A whole block of the model over whole windows: norm, sequence mixer, residual, norm, MLP, residual, forward and backward.

    h1 = h + Mixer(Norm h)       Mixer: softmax attention, or the gated delta rule with its convolution, gates and norm
    h2 = h1 + MLP(Norm h1)

A tile of a few sequences goes through the block from end to end while it lies in cache. Memory sees the block's input and output,
the fast weights, and what backward wants: the projections of the mixer, h1 and the MLP's input; all else is made again.
Gradients of weights are summed over PARTS fixed runs of tiles, added in order, so that the number of threads changes no bit.

A call without `whole` wants the fast weights alone and ends where they are written. Padding leaves the fast weights untouched and is
seen by no other token.
Sizes: E channels of the residual stream, H heads, K and V key and value channels of a head, T tokens of a window, R rows (tokens) of
a tile. A pointer called `row` is where the saved activations of a sequence's first token lie. */

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
#define TAKE(name, n) r->name = memory ? memory + used : 0, used += aligned(n) + 64
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

/* ---- softmax attention, one sequence */

/* Queries and keys: normed, weighted, turned by the angles of their position. */
static void turn_heads(Room *r, const real *row) {
    const Block *b = r->p->b;
    long H = b->heads, D = b->keys, half = D / 2;
    for (long t = 0; t < b->tokens; t++)
        for (long g = 0; g < 2 * H; g++) {
            real *to = r->unit + t * r->p->unitP + g * D;
            const real *c = r->cosine + t * half, *s = r->sine + t * half;
            normalise(to, row + t * r->p->saved + g * D, weight(r, g < H ? QUERY_NORM : KEY_NORM), D, b->norm_eps);
#pragma omp simd
            for (long j = 0; j < half; j++) {
                real first = to[j], second = to[half + j];
                to[j] = first * c[j] - second * s[j], to[half + j] = second * c[j] + first * s[j];
            }
        }
}

/* P = softmax of each row over what its token may see, o = P v, for one head */
static void attend(Room *r, const real *row, const unsigned char *valid, long h) {
    const Plan *p = r->p;
    long T = p->b->tokens, TP = p->tokensP, H = p->b->heads, D = p->b->keys, DP = padded(D);
    const real *q = r->unit + h * D, *k = r->unit + (H + h) * D;
    transpose(T, D, k, p->unitP, r->kt, TP);
    multiply(LOWER_OUT, T, T, D, q, p->unitP, 1, r->kt, TP, r->P, TP);
    for (long t = 0; t < T; t++) {
        real *P = r->P + t * TP, most = P[t], total = 0, scale = (real)p->b->scale;
        for (long s = 0; s < t; s++) most = (!valid || valid[s]) && P[s] > most ? P[s] : most;
        for (long s = 0; s <= t; s++) P[s] = scale * (P[s] - most);
        exponentials(P, P, t + 1);
        for (long s = 0; valid && s < t; s++) P[s] = valid[s] ? P[s] : 0;
        for (long s = 0; s <= t; s++) total += P[s];
        for (long s = 0; s <= t; s++) P[s] /= total;
        for (long s = t + 1; s < TP; s++) P[s] = 0;
    }
    fetch(r->vh, DP, row + (2 * H + h) * D, p->saved, T, D);
    multiply(LOWER, T, D, T, r->P, TP, 1, r->vh, DP, r->o, DP);
}

static void attention(Room *r, const real *row, const unsigned char *valid, real *z) {
    long T = r->p->b->tokens, D = r->p->b->keys;
    turn_heads(r, row);
    for (long h = 0; h < r->p->b->heads; h++) {
        attend(r, row, valid, h);
        deliver(z + h * D, r->p->outsP, r->o, padded(D), T, D);
    }
}

static void attention_back(Room *r, const real *row, const unsigned char *valid, real *z, const real *d_z, real *d_qkv) {
    const Plan *p = r->p;
    long T = p->b->tokens, TP = p->tokensP, H = p->b->heads, D = p->b->keys, DP = padded(D), half = D / 2;
    turn_heads(r, row);
    for (long h = 0; h < H; h++) {
        attend(r, row, valid, h);
        deliver(z + h * D, p->outsP, r->o, DP, T, D);
        fetch(r->d_o, DP, d_z + h * D, p->outsP, T, D);
        multiply(UPPER, T, D, T, r->P, 1, TP, r->d_o, DP, r->d_head, DP);
        deliver(d_qkv + (2 * H + h) * D, p->channelsP, r->d_head, DP, T, D);
        transpose(T, D, r->vh, DP, r->vt, TP);
        multiply(LOWER_OUT, T, T, D, r->d_o, DP, 1, r->vt, TP, r->d_P, TP);
        for (long t = 0; t < T; t++) {
            real *P = r->P + t * TP, *d_P = r->d_P + t * TP, mean = dot(r->d_o + t * DP, r->o + t * DP, D);
            for (long s = 0; s <= t; s++) d_P[s] = (real)p->b->scale * P[s] * (d_P[s] - mean);
            for (long s = t + 1; s < TP; s++) d_P[s] = 0;
        }
        multiply(LOWER, T, D, T, r->d_P, TP, 1, r->unit + (H + h) * D, p->unitP, r->d_head, DP);
        deliver(r->d_unit + h * D, p->unitP, r->d_head, DP, T, D);
        multiply(UPPER, T, D, T, r->d_P, 1, TP, r->unit + h * D, p->unitP, r->d_head, DP);
        deliver(r->d_unit + (H + h) * D, p->unitP, r->d_head, DP, T, D);
    }
    for (long t = 0; t < T; t++)
        for (long g = 0; g < 2 * H; g++) {
            real *d = r->d_unit + t * p->unitP + g * D, *to = d_qkv + t * p->channelsP + g * D;
            const real *c = r->cosine + t * half, *s = r->sine + t * half;
            int norm = g < H ? QUERY_NORM : KEY_NORM;
#pragma omp simd
            for (long j = 0; j < half; j++) {
                real first = d[j], second = d[half + j];
                d[j] = first * c[j] + second * s[j], d[half + j] = second * c[j] - first * s[j];
            }
            memset(to, 0, D * sizeof(real));
            normalise_back(to, r->part + p->at[norm], d, row + t * p->saved + g * D, weight(r, norm), D, p->b->norm_eps);
        }
}

/* ---- fast weights, one sequence */

/* From the projections to what the delta rule takes: convolution and SiLU, unit length, decay and write strength. */
static void feed(Room *r, const real *row, const unsigned char *valid) {
    const Plan *p = r->p;
    const Block *b = p->b;
    long T = b->tokens, H = b->heads, K = b->keys, n = p->channelsP;
    for (long t = 0; t < T; t++) {
        real *sum = r->pre + t * n;
        memset(sum, 0, n * sizeof(real));
        for (long tap = at_most(t + 1, b->taps), from = t; tap > 0; tap--, from--) {
            const real *w = weight(r, CONV) + (b->taps - 1 - (t - from)) * p->stride[CONV], *x = row + from * p->saved;
            for (long j = 0; j < n; j += LANES) store(sum + j, load(sum + j) + load(w + j) * load(x + j));
        }
        if (b->whole) sigmoids(r->door + t * p->outsP, row + t * p->saved + p->gate, p->outs);
    }
    sigmoids(r->open, r->pre, T * n);
    for (long j = 0; j < T * n; j += LANES) store(r->mixed + j, load(r->pre + j) * load(r->open + j));
    for (long t = 0; t < T; t++) {
        const real *gates = row + t * p->saved + p->decay_and_beta, *bias = weight(r, DT_BIAS);
        for (long g = 0; g < 2 * H; g++) {
            const real *x = r->mixed + t * n + g * K;
            real *to = r->unit + t * p->unitP + g * K, size = inverse_size(x, K, 1, b->unit_eps);
#pragma omp simd
            for (long j = 0; j < K; j++) to[j] = x[j] * size;
        }
        for (long h = 0; h < H; h++) r->decay[t * H + h] = gates[h] + bias[h], r->beta[t * H + h] = gates[H + h];
    }
    sigmoids(r->slope, r->decay, T * H);
    softpluses(r->decay, r->decay, T * H);
    sigmoids(r->beta, r->beta, T * H);
    for (long h = 0; h < H; h++) {
        real rate = (real)exp((double)weight(r, A_LOG)[h]);
        for (long t = 0; t < T; t++) {
            int there = !valid || valid[t];
            r->decay[t * H + h] *= there ? -rate : 0, r->beta[t * H + h] *= there ? (real)b->beta_scale : 0;
        }
    }
}

static void begin_chunk(Room *r, long h, long t, const real *S) {
    const Block *b = r->p->b;
    long H = b->heads, K = b->keys;
    const real *q = r->unit + t * r->p->unitP + h * K, *v = r->mixed + t * r->p->channelsP + 2 * H * K + h * b->values;
    r->w.C = at_most(b->chunk, b->tokens - t);
    prepare(&r->w, &r->call, q, q + H * K, v, r->decay + t * H + h, r->beta + t * H + h, S);
    if (b->whole) read_out(&r->w);
}

/* z = o r w silu(gate), for a head's tokens of the chunk at hand */
static void gated_norm(Room *r, const real *row, long h, long t0, real *z) {
    const Plan *p = r->p;
    long V = p->b->values;
    for (long t = 0; t < r->w.C; t++) {
        const real *gate = row + (t0 + t) * p->saved + p->gate + h * V, *door = r->door + (t0 + t) * p->outsP + h * V;
        real *to = z + (t0 + t) * p->outsP + h * V;
        normalise(to, r->w.O + t * r->w.VP, weight(r, HEAD_NORM), V, p->b->norm_eps);
#pragma omp simd
        for (long j = 0; j < V; j++) to[j] *= gate[j] * door[j];
    }
}

/* Gradients of the gate and, into d_out, of o. */
static void gated_norm_back(Room *r, const real *row, long h, long t0, const real *d_z, real *d_gate) {
    const Plan *p = r->p;
    long V = p->b->values, VP = r->w.VP;
    const real *w = weight(r, HEAD_NORM);
    for (long t = 0; t < r->w.C; t++) {
        const real *gate = row + (t0 + t) * p->saved + p->gate + h * V, *door = r->door + (t0 + t) * p->outsP + h * V;
        const real *d = d_z + (t0 + t) * p->outsP + h * V, *o = r->w.O + t * VP;
        real *d_o = r->d_out + t * VP, *d_door = d_gate + (t0 + t) * p->outsP + h * V, *d_normed = r->d_normed;
        real size = inverse_size(o, V, 1.0 / V, p->b->norm_eps);
#pragma omp simd
        for (long j = 0; j < V; j++) {
            d_door[j] = d[j] * o[j] * size * w[j] * door[j] * (1 + gate[j] * (1 - door[j]));
            d_normed[j] = d[j] * gate[j] * door[j], d_o[j] = 0;
        }
        normalise_back(d_o, r->part + p->at[HEAD_NORM], d_normed, o, w, V, p->b->norm_eps);
    }
}

static void fast_weights(Room *r, const real *row, const unsigned char *valid, const real *before, real *after, real *z) {
    const Block *b = r->p->b;
    long K = b->keys, V = b->values, VP = padded(V);
    feed(r, row, valid);
    for (long h = 0; h < b->heads; h++) {
        fetch(r->S, VP, before + h * K * V, V, K, V);
        for (long t = 0; t < b->tokens; t += b->chunk) {
            begin_chunk(r, h, t, r->S);
            if (b->whole) gated_norm(r, row, h, t, z);
            advance(&r->w, r->S);
        }
        deliver(after + h * K * V, V, r->S, VP, K, V);
    }
}

/* From the gradients of q, k (unit length), v, decay and beta to those of the projections. */
static void feed_back(Room *r, const real *row, const unsigned char *valid, real *d_qkv, real *d_gates) {
    const Plan *p = r->p;
    const Block *b = p->b;
    long T = b->tokens, H = b->heads, K = b->keys, n = p->channelsP;
    real *d_conv = r->part + p->at[CONV], *d_A_log = r->part + p->at[A_LOG], *d_bias = r->part + p->at[DT_BIAS];
    for (long t = 0; t < T; t++)
        for (long g = 0; g < 2 * H; g++) {
            const real *x = r->mixed + t * n + g * K, *d = r->d_unit + t * p->unitP + g * K, *unit = r->unit + t * p->unitP + g * K;
            real *to = r->d_mixed + t * n + g * K, size = inverse_size(x, K, 1, b->unit_eps), along = dot(d, unit, K);
#pragma omp simd
            for (long j = 0; j < K; j++) to[j] = size * (d[j] - along * unit[j]);
        }
    for (long j = 0; j < T * n; j += LANES) {
        vec open = load(r->open + j);
        store(r->d_mixed + j, load(r->d_mixed + j) * open * (1 + load(r->pre + j) * (1 - open)));
    }
    for (long t = 0; t < T; t++) {
        real *to = d_qkv + t * n;
        const real *d = r->d_mixed + t * n;
        memset(to, 0, n * sizeof(real));
        for (long tap = 0; tap < b->taps; tap++) {
            long later = t + b->taps - 1 - tap, earlier = t - b->taps + 1 + tap;
            const real *w = weight(r, CONV) + tap * p->stride[CONV], *d_later = r->d_mixed + later * n, *x = row + earlier * p->saved;
            real *d_w = d_conv + tap * p->stride[CONV];
            if (later < T && (!valid || valid[t]))
                for (long j = 0; j < n; j += LANES) store(to + j, load(to + j) + load(w + j) * load(d_later + j));
            if (earlier >= 0)
                for (long j = 0; j < n; j += LANES) store(d_w + j, load(d_w + j) + load(d + j) * load(x + j));
        }
        for (long h = 0; h < H; h++) {
            int there = !valid || valid[t];
            real rate = (real)exp((double)weight(r, A_LOG)[h]), d_decay = there ? r->d_decay[t * H + h] : 0;
            real beta = r->beta[t * H + h], d_beta = there ? r->d_beta[t * H + h] : 0, d_bent = -rate * d_decay * r->slope[t * H + h];
            d_A_log[h] += d_decay * r->decay[t * H + h], d_bias[h] += d_bent;
            d_gates[t * p->gatesP + h] = d_bent;
            d_gates[t * p->gatesP + H + h] = d_beta * beta * (1 - beta / (real)b->beta_scale);
        }
    }
}

static void fast_weights_back(Room *r, const real *row, const unsigned char *valid, const real *before, const real *d_after, real *z,
                              const real *d_z, real *d_before, real *d_qkv, real *d_gate, real *d_gates) {
    const Plan *p = r->p;
    const Block *b = p->b;
    long T = b->tokens, H = b->heads, K = b->keys, V = b->values, VP = padded(V), size = K * VP, chunks = (T + b->chunk - 1) / b->chunk;
    const Rows rows = {p->unitP, p->channelsP, VP, H};
    feed(r, row, valid);
    for (long h = 0; h < H; h++) {
        fetch(r->starts, VP, before + h * K * V, V, K, V);
        for (long chunk = 0; chunk + 1 < chunks; chunk++) {
            begin_chunk(r, h, chunk * b->chunk, r->starts + chunk * size);
            memcpy(r->starts + (chunk + 1) * size, r->starts + chunk * size, size * sizeof(real));
            advance(&r->w, r->starts + (chunk + 1) * size);
        }
        fetch(r->dS, VP, d_after + h * K * V, V, K, V);
        for (long chunk = chunks - 1; chunk >= 0; chunk--) {
            long t = chunk * b->chunk;
            real *d_q = r->d_unit + t * p->unitP + h * K, *d_v = r->d_mixed + t * p->channelsP + 2 * H * K + h * V;
            begin_chunk(r, h, t, r->starts + chunk * size);
            if (b->whole) gated_norm(r, row, h, t, z), gated_norm_back(r, row, h, t, d_z, d_gate);
            turn_back(&r->w, &rows, r->starts + chunk * size, r->dS, b->whole ? r->d_out : r->none, d_q, d_q + H * K, d_v,
                      r->d_decay + t * H + h, r->d_beta + t * H + h);
        }
        deliver(d_before + h * K * V, V, r->dS, VP, K, V);
    }
    feed_back(r, row, valid, d_qkv, d_gates);
}

/* ---- a tile */

static void project(Room *r, long rows, const real *h, const unsigned char *valid, real *saved) {
    const Plan *p = r->p;
    const Block *b = p->b;
    for (long i = 0; i < rows; i++) normalise(r->x + i * p->EP, h + i * b->width, weight(r, MIXER_NORM), b->width, b->norm_eps);
    linear(r, QKV, rows, r->x, p->EP, saved, p->saved);
    if (b->attention) return;
    linear(r, DECAY_AND_BETA, rows, r->x, p->EP, saved + p->decay_and_beta, p->saved);
    if (b->whole) linear(r, GATE, rows, r->x, p->EP, saved + p->gate, p->saved);
    for (long i = 0; valid && i < rows; i++)
        if (!valid[i]) memset(saved + i * p->saved, 0, p->channels * sizeof(real));
}

static void tile_forward(Room *r, long first, long n, const real *h, const real *before, real *h2, real *after, real *saved) {
    const Plan *p = r->p;
    const Block *b = p->b;
    long T = b->tokens, E = b->width, rows = n * T, all = b->heads * b->keys * b->values;
    const unsigned char *valid = r->valid ? r->valid + first * T : 0;
    project(r, rows, h, valid, saved);
    for (long i = 0; i < n; i++) {
        const real *row = saved + i * T * p->saved;
        const unsigned char *seen = valid ? valid + i * T : 0;
        real *z = b->whole ? r->z + i * T * p->outsP : 0;
        if (b->attention) attention(r, row, seen, z);
        else fast_weights(r, row, seen, before + i * all, after + i * all, z);
    }
    if (!b->whole) return;
    linear(r, OUT, rows, r->z, p->outsP, r->sum, p->EP);
    for (long i = 0; i < rows; i++) {
        real *h1 = saved + i * p->saved + p->h1;
        for (long j = 0; j < E; j++) h1[j] = h[i * E + j] + r->sum[i * p->EP + j];
        normalise(r->y + i * p->EP, h1, weight(r, MLP_NORM), E, b->norm_eps);
    }
    linear(r, UP, rows, r->y, p->EP, saved + p->up, p->saved);
    for (long i = 0; i < rows; i++) activate(b, r->act + i * p->hiddenP, saved + i * p->saved + p->up);
    linear(r, DOWN, rows, r->act, p->hiddenP, r->sum, p->EP);
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < E; j++) h2[i * E + j] = saved[i * p->saved + p->h1 + j] + r->sum[i * p->EP + j];
}

/* Leave in d_h the gradient of h1, in d_z that of what the mixer hands to its output projection. */
static void mlp_back(Room *r, long rows, const real *saved, const real *d_h2) {
    const Plan *p = r->p;
    const Block *b = p->b;
    long E = b->width;
    fetch(r->d_h, p->EP, d_h2, E, rows, E);
    for (long i = 0; i < rows; i++) {
        activate(b, r->act + i * p->hiddenP, saved + i * p->saved + p->up);
        normalise(r->y + i * p->EP, saved + i * p->saved + p->h1, weight(r, MLP_NORM), E, b->norm_eps);
    }
    linear_inputs(r, DOWN, 0, rows, d_h2, E, r->d_act, p->hiddenP);
    linear_weights(r, DOWN, rows, d_h2, E, r->act, p->hiddenP);
    for (long i = 0; i < rows; i++)
        activate_back(b, r->d_up + i * p->upP, r->d_act + i * p->hiddenP, r->act + i * p->hiddenP, saved + i * p->saved + p->up);
    linear_inputs(r, UP, 0, rows, r->d_up, p->upP, r->d_y, p->EP);
    linear_weights(r, UP, rows, r->d_up, p->upP, r->y, p->EP);
    for (long i = 0; i < rows; i++)
        normalise_back(r->d_h + i * p->EP, r->part + p->at[MLP_NORM], r->d_y + i * p->EP, saved + i * p->saved + p->h1,
                       weight(r, MLP_NORM), E, b->norm_eps);
    linear_inputs(r, OUT, 0, rows, r->d_h, p->EP, r->d_z, p->outsP);
}

static void tile_backward(Room *r, long first, long n, const real *h, const real *before, const real *saved, const real *d_h2,
                          const real *d_after, real *d_h, real *d_before) {
    const Plan *p = r->p;
    const Block *b = p->b;
    long T = b->tokens, E = b->width, rows = n * T, all = b->heads * b->keys * b->values;
    if (b->whole) mlp_back(r, rows, saved, d_h2);
    else memset(r->d_h, 0, rows * p->EP * sizeof(real));
    for (long i = 0; i < n; i++) {
        const real *row = saved + i * T * p->saved, *d_z = b->whole ? r->d_z + i * T * p->outsP : 0;
        const unsigned char *seen = r->valid ? r->valid + (first + i) * T : 0;
        real *z = b->whole ? r->z + i * T * p->outsP : 0, *d_qkv = r->d_qkv + i * T * p->channelsP;
        if (b->attention) attention_back(r, row, seen, z, d_z, d_qkv);
        else
            fast_weights_back(r, row, seen, before + i * all, d_after + i * all, z, d_z, d_before + i * all, d_qkv,
                              r->d_gate + i * T * p->outsP, r->d_decay_and_beta + i * T * p->gatesP);
    }
    if (b->whole) linear_weights(r, OUT, rows, r->d_h, p->EP, r->z, p->outsP);
    for (long i = 0; i < rows; i++) normalise(r->x + i * p->EP, h + i * E, weight(r, MIXER_NORM), E, b->norm_eps);
    linear_inputs(r, QKV, 0, rows, r->d_qkv, p->channelsP, r->d_y, p->EP);
    linear_weights(r, QKV, rows, r->d_qkv, p->channelsP, r->x, p->EP);
    if (!b->attention) {
        linear_inputs(r, DECAY_AND_BETA, 1, rows, r->d_decay_and_beta, p->gatesP, r->d_y, p->EP);
        linear_weights(r, DECAY_AND_BETA, rows, r->d_decay_and_beta, p->gatesP, r->x, p->EP);
        if (b->whole) linear_inputs(r, GATE, 1, rows, r->d_gate, p->outsP, r->d_y, p->EP);
        if (b->whole) linear_weights(r, GATE, rows, r->d_gate, p->outsP, r->x, p->EP);
    }
    for (long i = 0; i < rows; i++)
        normalise_back(r->d_h + i * p->EP, r->part + p->at[MIXER_NORM], r->d_y + i * p->EP, h + i * E, weight(r, MIXER_NORM), E,
                       b->norm_eps);
    deliver(d_h, E, r->d_h, p->EP, rows, E);
}

/* Numbers that forward saves for each token. */
long block_saved(const Block *b) { return plan_of(b).saved; }

/* h2 [B, T, E] (if whole), after [B, H, K, V] (fast weights); saved [B T, block_saved] or 0. Returns 0, or 1 if there is no memory. */
int block_forward(const Block *b, const real *const *weights, const real *cosine, const real *sine, const unsigned char *valid,
                  const real *h, const real *before, real *h2, real *after, real *saved) {
    Plan p = plan_of(b);
    Room sizes;
    long room = furnish(&sizes, &p, 0, 0), T = b->tokens, all = b->heads * b->keys * b->values;
    real *memory = blocks(1, p.weights + b->threads * room), *packed = memory;
    if (!memory) return 1;
    pack(&p, weights, packed, 1);
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (long tile = 0; tile < p.tiles; tile++) {
        Room r = {.weights = packed, .cosine = cosine, .sine = sine, .valid = valid};
        long first = tile * b->sequences, n = at_most(b->sequences, b->batch - first);
        furnish(&r, &p, memory + p.weights + THREAD * room, 0);
        tile_forward(&r, first, n, h + first * T * b->width, before ? before + first * all : 0, h2 ? h2 + first * T * b->width : 0,
                     after ? after + first * all : 0, saved ? saved + first * T * p.saved : r.saved);
    }
    free(memory);
    return 0;
}

/* Gradients d_h, d_before and, one pointer for each weight, d_weights. */
int block_backward(const Block *b, const real *const *weights, const real *cosine, const real *sine, const unsigned char *valid,
                   const real *h, const real *before, const real *saved, const real *d_h2, const real *d_after, real *d_h,
                   real *d_before, real *const *d_weights) {
    Plan p = plan_of(b);
    Room sizes;
    long room = furnish(&sizes, &p, 0, 1), T = b->tokens, all = b->heads * b->keys * b->values;
    real *memory = blocks(1, (1 + PARTS) * p.weights + b->threads * room), *packed = memory, *parts = memory + p.weights;
    if (!memory) return 1;
    pack(&p, weights, packed, 0);
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (long part = 0; part < PARTS; part++) {
        Room r = {.weights = packed, .cosine = cosine, .sine = sine, .valid = valid, .part = parts + part * p.weights};
        furnish(&r, &p, parts + PARTS * p.weights + THREAD * room, 1);
        for (long tile = part * p.tiles / PARTS; tile < (part + 1) * p.tiles / PARTS; tile++) {
            long first = tile * b->sequences, n = at_most(b->sequences, b->batch - first), at = first * T * b->width;
            tile_backward(&r, first, n, h + at, before ? before + first * all : 0, saved + first * T * p.saved, d_h2 ? d_h2 + at : 0,
                          d_after ? d_after + first * all : 0, d_h + at, d_before ? d_before + first * all : 0);
        }
    }
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (long j = 0; j < p.weights; j += LANES)
        for (long part = 1; part < PARTS; part++) store(parts + j, load(parts + j) + load(parts + part * p.weights + j));
    for (int i = 0; i < WEIGHTS; i++) deliver(d_weights[i], p.columns[i], parts + p.at[i], p.stride[i], p.rows[i], p.columns[i]);
    free(memory);
    return 0;
}

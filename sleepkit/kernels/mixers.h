/* The two sequence mixers of a block, forward and backward, one sequence at a time: from the projections of its tokens (at `row`, a
line of `saved` numbers for each) to what the output projection reads (z), and back. */

#pragma once
#include "block.h"

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

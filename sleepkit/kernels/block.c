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

#include "mixers.h"

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

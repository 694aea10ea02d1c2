/* What a block does to one token at a time, each in one sweep forward and one backward: normalisation with weight, gate and
rotary positions; short convolution with SiLU; squared ReLU.

torch spends five to ten sweeps over memory on each. Backward recomputes instead of saving. Sums over tokens (gradients of weights)
run over BLOCKS fixed groups of rows, added in order, so that the number of threads changes no bit.
REAL is float or double. Rows are tokens; D channels of a group (a head, or the whole width). */

#include "vector.h"

enum { BLOCKS = 32 };

/* Sum the BLOCKS partial results of `n` numbers each into the first, in order. */
static void gather(real *total, const real *parts, long n) {
    memcpy(total, parts, n * sizeof(real));
    for (long block = 1; block < BLOCKS; block++)
        for (long j = 0; j < n; j++) total[j] += parts[block * n + j];
}

/* y = x r w silu(gate), turned by the angles of its token; r = (scale |x|^2 + eps)^-1/2 over the D channels of a group.
   scale = 1 / D is RMSNorm, scale = 1 is unit length. Groups g = 0.. share `weights` rows of w evenly. */
typedef struct {
    long rows, tokens, groups, D, weights, threads, x_stride, gate_stride;
    double scale, eps;
} Norm;

static inline real inverse_size(const Norm *n, const real *x) {
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < n->D; j++) sum += x[j] * x[j];
    return 1 / (real)sqrt((double)((real)n->scale * sum + (real)n->eps));
}

int norm_forward(const Norm *n, const real *x, const real *w, const real *gate, const real *cosine, const real *sine, real *y) {
    long D = n->D, half = D / 2, width = n->groups * D;
    real *memory = malloc(n->threads * width * sizeof(real));
    if (!memory) return 1;
#pragma omp parallel for schedule(static) num_threads(n->threads)
    for (long row = 0; row < n->rows; row++) {
        real *open = memory + THREAD * width;
        if (gate) sigmoids(open, gate + row * n->gate_stride, width);
        for (long g = 0; g < n->groups; g++) {
            const real *from = x + row * n->x_stride + g * D, *weight = w ? w + g * n->weights / n->groups * D : 0;
            real *to = y + row * width + g * D, r = inverse_size(n, from);
            if (weight)
#pragma omp simd
                for (long j = 0; j < D; j++) to[j] = from[j] * r * weight[j];
            else
#pragma omp simd
                for (long j = 0; j < D; j++) to[j] = from[j] * r;
            if (gate) {
                const real *door = gate + row * n->gate_stride + g * D;
#pragma omp simd
                for (long j = 0; j < D; j++) to[j] *= door[j] * open[g * D + j];
            }
            if (cosine) {
                const real *c = cosine + row % n->tokens * half, *s = sine + row % n->tokens * half;
#pragma omp simd
                for (long j = 0; j < half; j++) {
                    real first = to[j], second = to[half + j];
                    to[j] = first * c[j] - second * s[j], to[half + j] = second * c[j] + first * s[j];
                }
            }
        }
    }
    free(memory);
    return 0;
}

/* Gradients dx [rows, groups D], dw [weights, D] and d_gate [rows, groups D], the last two where there is a w, a gate. */
int norm_backward(const Norm *n, const real *x, const real *w, const real *gate, const real *cosine, const real *sine, const real *dy,
                  real *dx, real *dw, real *d_gate) {
    long D = n->D, half = D / 2, width = n->groups * D, size = 3 * width, n_weights = n->weights * D;
    real *memory = malloc((n->threads * size + (BLOCKS + 1) * n_weights) * sizeof(real));
    if (!memory) return 1;
    real *parts = memory + n->threads * size;
    memset(parts, 0, BLOCKS * n_weights * sizeof(real));
#pragma omp parallel for schedule(static) num_threads(n->threads)
    for (long block = 0; block < BLOCKS; block++)
        for (long row = block * n->rows / BLOCKS; row < (block + 1) * n->rows / BLOCKS; row++) {
            real *open = memory + THREAD * size, *dz = open + width, *unit = dz + width;
            if (gate) sigmoids(open, gate + row * n->gate_stride, width);
            memcpy(dz, dy + row * width, width * sizeof(real));
            for (long g = 0; g < n->groups; g++) {
                const real *from = x + row * n->x_stride + g * D, *weight = w ? w + g * n->weights / n->groups * D : 0;
                real *grad = dz + g * D, *to = dx + row * width + g * D, r = inverse_size(n, from), along = 0;
                if (cosine) {
                    const real *c = cosine + row % n->tokens * half, *s = sine + row % n->tokens * half;
#pragma omp simd
                    for (long j = 0; j < half; j++) {
                        real first = grad[j], second = grad[half + j];
                        grad[j] = first * c[j] + second * s[j], grad[half + j] = second * c[j] - first * s[j];
                    }
                }
#pragma omp simd
                for (long j = 0; j < D; j++) unit[j] = from[j] * r;
                if (gate) {
                    const real *door = gate + row * n->gate_stride + g * D, *s = open + g * D;
                    real *d_door = d_gate + row * width + g * D;
                    for (long j = 0; j < D; j++) d_door[j] = grad[j] * unit[j] * s[j] * (1 + door[j] * (1 - s[j]));
                    if (weight)
                        for (long j = 0; j < D; j++) d_door[j] *= weight[j];
#pragma omp simd
                    for (long j = 0; j < D; j++) grad[j] *= door[j] * s[j];
                }
                if (weight) {
                    real *part = parts + block * n_weights + g * n->weights / n->groups * D;
#pragma omp simd
                    for (long j = 0; j < D; j++) part[j] += grad[j] * unit[j], grad[j] *= weight[j];
                }
#pragma omp simd reduction(+ : along)
                for (long j = 0; j < D; j++) along += grad[j] * unit[j];
                along *= (real)n->scale;
#pragma omp simd
                for (long j = 0; j < D; j++) to[j] = r * (grad[j] - along * unit[j]);
            }
        }
    if (w) gather(dw, parts, n_weights);
    free(memory);
    return 0;
}

/* y_t = SiLU(sum_i w_i x_(t - taps + 1 + i)), each channel with its own taps; before the first token comes `tail`, or zeros. */
typedef struct {
    long batch, tokens, channels, taps, threads, x_stride, x_batch_stride, silu;
} Conv;

static const real *input(const Conv *c, const real *x, const real *tail, long b, long t) {
    if (t >= 0) return x + b * c->x_batch_stride + t * c->x_stride;
    return tail ? tail + (b * (c->taps - 1) + c->taps - 1 + t) * c->channels : 0;
}

static void convolve(const Conv *c, const real *x, const real *tail, const real *w, long b, long t, real *sum) {
    memset(sum, 0, c->channels * sizeof(real));
    for (long tap = 0; tap < c->taps; tap++) {
        const real *from = input(c, x, tail, b, t - c->taps + 1 + tap), *weight = w + tap * c->channels;
        if (from)
#pragma omp simd
            for (long e = 0; e < c->channels; e++) sum[e] += weight[e] * from[e];
    }
}

/* w [taps, channels] */
int conv_forward(const Conv *c, const real *x, const real *tail, const real *w, real *y) {
    long E = c->channels;
    real *memory = malloc(c->threads * E * sizeof(real));
    if (!memory) return 1;
#pragma omp parallel for schedule(static) num_threads(c->threads)
    for (long b = 0; b < c->batch; b++) {
        real *open = memory + THREAD * E;
        for (long t = 0; t < c->tokens; t++) {
            real *to = y + (b * c->tokens + t) * E;
            convolve(c, x, tail, w, b, t, to);
            if (!c->silu) continue;
            sigmoids(open, to, E);
#pragma omp simd
            for (long e = 0; e < E; e++) to[e] *= open[e];
        }
    }
    free(memory);
    return 0;
}

/* Gradients dx [B, T, E], d_tail [B, taps - 1, E] (if there is a tail), dw [taps, E]. */
int conv_backward(const Conv *c, const real *x, const real *tail, const real *w, const real *dy, real *dx, real *d_tail, real *dw) {
    long E = c->channels, T = c->tokens, n_weights = c->taps * E, size = (T + 2) * E, before = c->taps - 1;
    real *memory = malloc((c->threads * size + BLOCKS * n_weights) * sizeof(real));
    if (!memory) return 1;
    real *parts = memory + c->threads * size;
    memset(parts, 0, BLOCKS * n_weights * sizeof(real));
#pragma omp parallel for schedule(static) num_threads(c->threads)
    for (long block = 0; block < BLOCKS; block++)
        for (long b = block * c->batch / BLOCKS; b < (block + 1) * c->batch / BLOCKS; b++) {
            real *dz = memory + THREAD * size, *sum = dz + T * E, *open = sum + E, *part = parts + block * n_weights;
            for (long t = 0; t < T; t++) {
                const real *d = dy + (b * T + t) * E;
                real *z = dz + t * E;
                memcpy(z, d, E * sizeof(real));
                if (c->silu) {
                    convolve(c, x, tail, w, b, t, sum);
                    sigmoids(open, sum, E);
#pragma omp simd
                    for (long e = 0; e < E; e++) z[e] *= open[e] * (1 + sum[e] * (1 - open[e]));
                }
                for (long tap = 0; tap < c->taps; tap++) {
                    const real *from = input(c, x, tail, b, t - before + tap);
                    if (from)
#pragma omp simd
                        for (long e = 0; e < E; e++) part[tap * E + e] += z[e] * from[e];
                }
            }
            for (long t = tail ? -before : 0; t < T; t++) {
                real *to = t < 0 ? d_tail + (b * before + before + t) * E : dx + (b * T + t) * E;
                memset(to, 0, E * sizeof(real));
                for (long tap = 0; tap < c->taps; tap++) {
                    long later = t + before - tap;
                    if (later < 0 || later >= T) continue;
#pragma omp simd
                    for (long e = 0; e < E; e++) to[e] += w[tap * E + e] * dz[later * E + e];
                }
            }
        }
    gather(dw, parts, n_weights);
    free(memory);
    return 0;
}

/* y = relu(x)^2, and dx = 2 relu(x) dy */
int relu_square_forward(long n, long threads, const real *x, real *y) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (long j = 0; j < n; j++) {
        real kept = x[j] > 0 ? x[j] : 0;
        y[j] = kept * kept;
    }
    return 0;
}
int relu_square_backward(long n, long threads, const real *x, const real *dy, real *dx) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (long j = 0; j < n; j++) dx[j] = x[j] > 0 ? 2 * x[j] * dy[j] : 0;
    return 0;
}

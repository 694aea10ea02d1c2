/* The gated delta rule as an operation: heads of sequences side by side on the threads (delta.h has the algebra). */

#include "delta.h"

#define OF(name, b, t, h) (name + (b) * call->name[0] + (t) * call->name[1] + (h) * call->name[2])

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
            read_out(&w);
            deliver(out + ((b * T + t) * H + h) * V, H * V, w.O, VP, w.C, V);
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
    const Rows rows = {H * K, H * V, H * V, H};
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
            turn_back(&w, &rows, S, dS, d_out + at * V, d_q + at * K, d_k + at * K, d_v + at * V, d_log_decay + at, d_beta + at);
        }
        deliver(d_state + n * K * V, V, dS, VP, K, V);
    }
    free(memory);
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file modeconn.h
 * @brief libmodeconn: do two networks predict for the same reason, what lies between them in
 *        weight space, and how do I change the reason?
 *
 * Implements the system of Lubana et al., "Mechanistic Mode Connectivity" (ICML 2023, called
 * "the paper" below). This header includes every public module:
 *
 *  - core.h      status codes, error text, options, context
 *  - dataset.h   labelled images, cues and counterfactual views
 *  - model.h     networks: built-in architectures, your own graph, files, parameters
 *  - train.h     stochastic gradient descent with resumable state
 *  - path.h      paths between two models in weight space
 *  - finetune.h  changing what a model relies on: fine-tuning, last-layer retraining, CBFT
 *  - align.h     symmetries; permuting a model's units to match another's
 *  - measure.h   evaluation, curves and barriers, invariance probes, mechanistic similarity
 *  - similarity.h  mechanistic connectivity, activation patterns, similarity of representations
 *
 * Conventions shared by every call
 *
 *  - A call that can fail returns int32_t: MODECONN_OK (0) or a negative pinned code of
 *    core.h; modeconn_last_error() then says in words what was wrong and with what. A NULL where
 *    one is not allowed is MODECONN_ERROR_ARGUMENT everywhere; a call that lists no errors has no
 *    other. Whatever reads samples can return MODECONN_ERROR_CALLBACK where the dataset has a cue
 *    or an attribute of the host's (dataset.h).
 *  - On failure output handles are set to NULL, other outputs are untouched (but for `needed`
 *    where a buffer is too small), and every handle that went in stays usable.
 *  - Handles are opaque and reference-counted inside: destroy them in any order, each once; NULL
 *    is ignored. A handle is used by one thread at a time; different handles, also of one
 *    context, may be used by different threads. A trainer uses its model, and a fitter its path,
 *    as if it were that handle. Datasets never change after creation and may be read by any
 *    number of threads.
 *  - Handles of different contexts may meet in one call; what it makes keeps alive those that it
 *    needs.
 *  - NULL for an options argument means every default. An options object serves calls of its
 *    own kind only ("train", "curve", ...); it is read during the call and not kept.
 *    modeconn_options_describe() tells the type, default, range and meaning of each key.
 *  - A progress callback (core.h) may be NULL everywhere.
 *  - Text outputs: pass capacity 0 and a NULL buffer to ask for the size, which counts the
 *    terminating NUL; a buffer that is too small gets MODECONN_ERROR_BUFFER and is left untouched.
 *    `needed` may be NULL. Making a text can also be MODECONN_ERROR_MEMORY.
 *  - The length of an array output is told by a call of its own. Arrays take a capacity of at
 *    least that (MODECONN_ERROR_BUFFER if less), a model's vectors a count of exactly that
 *    (MODECONN_ERROR_SHAPE if not).
 *  - Images are NCHW float, labels int32_t from 0. Losses are cross-entropies in nats, accuracies
 *    and errors are fractions of 1.
 *  - Same seed, same build, same instruction set: bit-for-bit the same result for any number of
 *    threads.
 */
#ifndef MODECONN_MODECONN_H
#define MODECONN_MODECONN_H

#include <modeconn/core.h>
#include <modeconn/dataset.h>
#include <modeconn/model.h>
#include <modeconn/train.h>
#include <modeconn/path.h>
#include <modeconn/finetune.h>
#include <modeconn/align.h>
#include <modeconn/measure.h>
#include <modeconn/similarity.h>

#endif

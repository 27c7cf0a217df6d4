/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one place that sees every folder: tables that core reaches without knowing who fills them.
 */
#include "align/align.h"
#include "core/core.h"
#include "data/data.h"
#include "finetune/finetune.h"
#include "measure/measure.h"
#include "nn/graph.h"
#include "nn/nn.h"
#include "train/train.h"

const mc_option_kind *const mc_option_kinds[] = {
    &mc_kind_context,     &mc_kind_dataset,      &mc_kind_shapes,     &mc_kind_model,
    &mc_kind_train,       &mc_kind_finetune,     &mc_kind_evaluate,   &mc_kind_curve,
    &mc_kind_probe,       &mc_kind_conv2d,       &mc_kind_batch_norm, &mc_kind_relu,
    &mc_kind_add,         &mc_kind_avg_pool,     &mc_kind_max_pool,   &mc_kind_global_avg_pool,
    &mc_kind_linear,      &mc_kind_connectivity, &mc_kind_patterns,   &mc_kind_cka,
    &mc_kind_align,       &mc_kind_slabs,        &mc_kind_layer_norm, &mc_kind_gelu,
    &mc_kind_mean_margin, &mc_kind_path,         &mc_kind_path_fit,
};
const int64_t mc_option_kinds_count =
    (int64_t)(sizeof(mc_option_kinds) / sizeof(mc_option_kinds[0]));

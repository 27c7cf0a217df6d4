/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file path.h
 * @brief Paths between two models in weight space (paper, Definition 1). Conventions: modeconn.h.
 */
#ifndef MODECONN_PATH_H
#define MODECONN_PATH_H

#include <modeconn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A curve gamma: [0, 1] -> parameters, gamma(0) = first end, gamma(1) = second end. */
typedef struct modeconn_path modeconn_path;

/** The straight line gamma(t) = (1-t) theta_1 + t theta_2 between two models of one
 *  architecture. The path takes a snapshot of both: changing them later does not change it.
 *  @return MODECONN_OK, _ARGUMENT, _SHAPE (the models differ: names the first block or layer that
 *          does), _MEMORY */
MODECONN_API int32_t modeconn_path_linear(const modeconn_model *first, const modeconn_model *second,
                                          modeconn_path **out);

MODECONN_API void modeconn_path_destroy(modeconn_path *path);

/** Name of the path's family ("linear"), a static string. */
MODECONN_API int32_t modeconn_path_family(const modeconn_path *path, const char **family);

/** Parameters at t in [0, 1], exact to the bit at both ends; between them each is computed in
 *  double and rounded to float once.
 *  @param theta  receives them, [count]
 *  @param count  the parameter count of either model
 *  @return MODECONN_OK, _ARGUMENT (t out of range), _SHAPE (count) */
MODECONN_API int32_t modeconn_path_parameters(const modeconn_path *path, double t, float *theta,
                                              int64_t count);

/** A model with the parameters at t and the statistics interpolated likewise; they seldom fit
 *  gamma(t): measure with a statistics policy (measure.h). Its metadata and history are empty.
 *  @return MODECONN_OK, _ARGUMENT (t out of range), _MEMORY */
MODECONN_API int32_t modeconn_path_model(const modeconn_path *path, double t, modeconn_model **out);

/** Euclidean length of the path in parameter space. */
MODECONN_API int32_t modeconn_path_length(const modeconn_path *path, double *length);

#ifdef __cplusplus
}
#endif

#endif

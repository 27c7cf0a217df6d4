/* SPDX-License-Identifier: BSD-3-Clause
 *
 * placeholder
 */
#include "reproduce.h"
int repro_run_theory(repro_job *job, const repro_experiment *experiment)
{
    (void)job;
    (void)experiment;
    return CLI_OK;
}

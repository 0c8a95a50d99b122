"""The mutations of ``scripts/mutate.py``: what is broken, and the everyday tests that must notice.

Each names a text that stands once in the definition ``within`` (``Class.method``, a function, a
class; empty: the whole file), in whichever file. Golden losses notice most of what moves a
training; they are left out here, so that they hide no test that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One change that makes the lab wrong.

    Attributes:
        name: what is wrong then.
        within: the definition that is changed.
        old: the text that is changed; any blanks stand for any others.
        new: what takes its place.
        tests: files of tests, or single ones, below ``tests/``.
    """

    name: str
    within: str
    old: str
    new: str
    tests: tuple[str, ...]


def _m(name: str, within: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(name, within, old, new, tests)


MODELS = [
    _m(
        "log-det of a coupling has the wrong sign",
        "AffineCoupling._to_latent",
        "log_scale.flatten(1).sum(1)",
        "-log_scale.flatten(1).sum(1)",
        "test_models.py::test_log_det_is_that_of_the_autograd_jacobian",
    ),
    _m(
        "a coupling is not undone",
        "AffineCoupling._to_data",
        "(-log_scale).exp()",
        "log_scale.exp()",
        "test_models.py::test_inverse_undoes_forward_and_forward_undoes_inverse",
    ),
    _m(
        "log-det of a spline is that of the other direction",
        "SplineCoupling._to_data",
        "-self._spline(moved",
        "self._spline(moved",
        "test_models.py::test_inverse_undoes_forward_and_forward_undoes_inverse",
    ),
    _m(
        "a spline does not start as the identity",
        "SplineCoupling._spline",
        "slopes + _SLOPE_ONE",
        "slopes",
        "test_models.py::test_couplings_that_scale_start_as_the_identity",
    ),
    _m(
        "log-det of actnorm does not count pixels",
        "ActNorm._like",
        "* v[0, 0].numel()",
        "",
        "test_image_flow.py::test_log_det_of_actnorm_counts_each_pixel",
    ),
    _m(
        "actnorm starts from the variance",
        "ActNorm.initialise",
        "values.std(1)",
        "values.var(1)",
        "test_models.py::test_actnorm_starts_from_the_data",
    ),
    _m(
        "the convolution forgets its permutation",
        "InvertibleConv.matrix",
        "self.permutation @ lower",
        "lower",
        "test_image_flow.py::test_inverse_undoes_forward_and_forward_undoes_inverse",
    ),
    _m(
        "log-det of the convolution has the wrong sign",
        "InvertibleConv.forward",
        "-self._log_det(z)",
        "self._log_det(z)",
        "test_image_flow.py::test_log_det_towards_the_data_is_that_of_the_autograd_jacobian",
    ),
    _m(
        "the logit's log-det forgets alpha",
        "Logit._log_slope",
        "math.log(1 - 2 * self.alpha)",
        "0.0",
        "test_image_flow.py::test_logit_has_the_log_det_of_its_slopes",
    ),
    _m(
        "a squeeze takes the corners in another order",
        "Squeeze.inverse",
        "x[0, 0], x[0, 1], x[1, 0], x[1, 1]",
        "x[0, 0], x[1, 0], x[0, 1], x[1, 1]",
        "test_image_flow.py::test_squeezing_only_moves_values_and_is_undone",
    ),
    _m(
        "change of variables with the wrong sign",
        "Flow.log_prob",
        "self.prior.log_prob(z) + log_det",
        "self.prior.log_prob(z) - log_det",
        "test_models.py::test_density_integrates_to_one",
    ),
    _m(
        "the Gaussian prior is not normalised",
        "Gaussian.log_density",
        "2 * math.pi",
        "math.pi",
        "test_models.py::test_priors_are_what_scipy_knows_by_the_name",
    ),
    _m(
        "the logistic prior draws from something else",
        "Logistic._draw",
        "u.log() - (-u).log1p()",
        "u.log()",
        "test_models.py::test_priors_are_what_scipy_knows_by_the_name",
    ),
    _m(
        "an output of MADE sees its own input",
        "MADE.__init__",
        "right=not strict",
        "right=strict",
        "test_maf.py::test_an_output_sees_the_inputs_before_it_and_nothing_else",
    ),
    _m(
        "hidden masks are stricter than they should be",
        "MADE.__init__",
        "self.degrees, self.degrees, right=True",
        "self.degrees, self.degrees, right=False",
        "test_maf.py::test_the_masks_are_those_of_the_paper",
    ),
    _m(
        "log-det of MAF has the wrong sign",
        "MaskedAutoregressive.inverse",
        "-log_scale.sum(1)",
        "log_scale.sum(1)",
        "test_maf.py::test_flow_inverts_and_its_log_det_is_autograds",
    ),
    _m(
        "blocks of MAF all go in one order",
        "maf",
        "bool((blocks - 1 - i) % 2)",
        "False",
        "test_maf.py::test_the_order_turns_between_blocks_and_data_come_in_the_natural_one",
    ),
    _m(
        "KL of the VAE lacks a term",
        "kl",
        "log_variance.exp() - 1 - log_variance",
        "log_variance.exp() - 1",
        "test_vae.py::test_the_kl_is_that_of_torch",
    ),
    _m(
        "the VAE draws with the variance for a standard deviation",
        "VAE.terms",
        "0.5 * log_variance",
        "log_variance",
        "test_vae.py::test_a_linear_gaussian_model_reaches_probabilistic_pca",
        "test_vae.py::test_one_weight_is_the_elbo_and_more_are_a_tighter_bound",
    ),
    _m(
        "the importance bound grows with the number of draws",
        "importance_bound",
        "- math.log(len(log_weights))",
        "",
        "test_vae.py::test_the_exact_posterior_makes_every_weight_the_likelihood",
    ),
]

LOSSES = [
    _m(
        "the non-saturating generator runs away from real",
        "_non_saturating",
        "softplus(-fake)",
        "softplus(fake)",
        "test_gan_losses.py",
    ),
    _m(
        "the original generator helps the discriminator",
        "_saturating",
        "-softplus(fake)",
        "softplus(fake)",
        "test_gan_losses.py",
    ),
    _m(
        "least squares pull fakes to 0",
        "_squares_generator",
        "fake - 1",
        "fake",
        "test_gan_losses.py",
    ),
    _m(
        "the hinge of fakes is that of real ones",
        "_hinge",
        "1 + fake",
        "1 - fake",
        "test_gan_losses.py",
    ),
    _m(
        "the critic prefers fakes",
        "_critic",
        "fake.mean() - real.mean()",
        "real.mean() - fake.mean()",
        "test_gan_losses.py",
    ),
    _m(
        "the penalty holds slopes near 0",
        "gradient_penalty",
        "sqrt() - 1",
        "sqrt()",
        "test_gan_losses.py",
    ),
    _m(
        "the penalty looks at real examples only",
        "gradient_penalty",
        "(fake - real)",
        "0",
        "test_gan_losses.py",
    ),
    _m(
        "label smoothing only adds",
        "_cross_entropy",
        "(1 - smoothing) *",
        "",
        "test_gan_losses.py",
    ),
    _m(
        "a GAN's learning rate does not fall",
        "_descend",
        "(1 - self.step / self.total)",
        "1",
        "test_gan.py::test_the_learning_rate_falls_in_a_line_to_nothing",
    ),
    _m(
        "the weight of the cycle loss is ignored",
        "round_trip",
        'self.live["cycle"] * cycle',
        "cycle",
        "test_cyclegan.py::test_losses_are_the_standard_ones_in_the_standard_order",
    ),
    _m(
        "CycleGAN's learning rate does not fall",
        "rate_factor",
        "min(1.0, left / self.config.decay)",
        "1.0",
        "test_cyclegan.py::test_the_learning_rate_stays_and_then_falls_to_nothing",
    ),
    _m(
        "beta does not warm up",
        "beta",
        "min(1.0, self.step / rise)",
        "1.0",
        "test_vae.py::test_beta_rises_over_the_warm_up",
    ),
    _m(
        "dequantisation fills half of a bin",
        "dequantise",
        "images + noise",
        "images + 0.5 * noise",
        "test_image_training.py::test_dequantised_values_are_evenly_spread_over_their_bin",
    ),
    _m(
        "bits/dim of 255 values",
        "bits_per_dim",
        "math.log(256)",
        "math.log(255)",
        "test_image_training.py::test_an_even_density_has_eight_bits",
    ),
]

LOOP = [
    _m(
        "a gradient that is not finite is followed",
        "along",
        "not_finite(norm + loss)",
        "not_finite(loss)",
        "test_loop.py::test_a_step_that_is_not_finite_is_skipped_and_counted",
    ),
    _m(
        "steps that are not finite count in the mean",
        "_add_up",
        "(~bad).sum()",
        "len(values)",
        "test_loop.py::test_means_are_those_of_all_steps_however_many_came_before_they_were_logged",
    ),
    _m(
        "one cycle starts at nothing",
        "one_cycle",
        "start + (1 - start) * fraction",
        "fraction",
        "test_loop.py::test_one_cycle_warms_up_and_ends_at_nothing",
    ),
    _m(
        "clipping scales every gradient",
        "along",
        ".clamp(max=1)",
        "",
        "test_loop.py::test_the_optimiser_is_pytorchs_adam_but_for_steps_that_are_not_finite",
    ),
    _m(
        "a training that is lost goes on",
        "train",
        "experiment.streak >= PATIENCE",
        "False",
        "test_loop.py::test_a_training_that_stays_so_has_diverged",
    ),
    _m(
        "looking draws from the training's generator",
        "PlaneFlow.target",
        "torch.Generator(self.device).manual_seed(2)",
        "self.generator",
        "test_loop.py::test_evaluation_does_not_change_the_training",
    ),
    _m(
        "the mean of several processes is a local one",
        "mean",
        "values.sum() / of",
        "values.mean() / size()",
        "test_parallel.py::test_two_processes_train_like_one_with_the_same_batch",
    ),
    _m(
        "a live value skips the bounds",
        "Experiment.set",
        "getattr(self.config.replace(**{name: value}), name)",
        "value",
        "test_config.py::test_a_running_training_refuses",
    ),
]

RUNS = [
    _m(
        "the checkpoint before the last one is taken first",
        "",
        '("checkpoint.pt", "checkpoint.before.pt")',
        '("checkpoint.before.pt", "checkpoint.pt")',
        "test_driver.py::test_a_run_stopped_again_and_again_is_the_run_that_never_was",
        "test_driver.py::test_where_the_last_checkpoint_is_damaged_it_goes_on_from_the_one_before",
    ),
    _m(
        "a resume forgets the generator",
        "Experiment.load_state_dict",
        "self.generator.set_state(",
        "len(",
        "test_loop.py::test_a_restored_training_ends_with_the_same_weights",
    ),
    _m(
        "a resume keeps rows from after the checkpoint",
        "Metrics.start",
        'row["step"] <= step',
        'row["step"] >= 0',
        "test_store.py::test_metrics_after_a_step_are_dropped_on_a_resume",
    ),
    _m(
        "a pause writes no checkpoint",
        "_hold",
        "self._checkpoint()",
        "pass",
        "test_driver.py::test_a_pause_is_on_disk",
    ),
    _m(
        "a checkpoint may run code",
        "last_with_note",
        "weights_only=True",
        "weights_only=False",
        "test_store.py::test_a_damaged_checkpoint_is_refused_and_never_run",
    ),
    _m(
        "an id of a run may lead elsewhere",
        "RunStore.get",
        "re.fullmatch(",
        "re.match(",
        "test_store.py::test_ids_that_are_no_plain_name_lead_nowhere",
    ),
]

NUMBERS = [
    _m(
        "ties do not count in the AUROC",
        "bootstrap_auroc",
        "0.5 * (bad",
        "0.0 * (bad",
        "test_detection.py",
    ),
    _m(
        "the threshold is the wrong quantile",
        "threshold_from_good",
        "held_out, 1 - false_alarms",
        "held_out, false_alarms",
        "test_detection.py::test_the_threshold_lets_the_stated_share_of_good_ones_pass",
    ),
    _m(
        "a score at the threshold is defective",
        "decide",
        "np.asarray(scores) > threshold",
        "np.asarray(scores) >= threshold",
        "test_detection.py::test_a_score_at_the_threshold_is_good",
    ),
    _m(
        "MAF's threshold is of fitted images",
        "calibrating",
        "self._raw(self.held_out)",
        "self._raw(self.fit)",
        "test_maf_training.py::test_the_threshold_is_of_held_out_good_images",
    ),
    _m(
        "only what is higher than usual is a defect",
        "unlike",
        ".abs().sum(1)",
        ".sum(1)",
        "test_maf_training.py::test_unlike_is_what_is_higher_and_what_is_lower",
    ),
    _m(
        "the VAE's threshold is of the images it judges",
        "detect",
        "threshold_from_good(validation",
        "threshold_from_good(clean",
        "test_vae.py::test_detection_takes_its_threshold_from_validation_images_alone",
    ),
    _m(
        "a discriminator has won on one side already",
        "_won",
        "real < WON_REAL or",
        "real < WON_REAL and",
        "test_gan_health.py",
    ),
    _m(
        "the health light looks at the whole past",
        "health",
        "(1 - WINDOW) *",
        "0 *",
        "test_gan_health.py",
    ),
    _m(
        "every swing is an oscillation",
        "_oscillation",
        "turns < 2",
        "turns < 0",
        "test_gan_health.py",
    ),
    _m(
        "one bad look at a translation is a collapse",
        "_collapse",
        'max((row[f"variety_',
        'min((row[f"variety_',
        "test_cyclegan.py::test_early_blurs_and_a_single_snapshot_are_no_collapse",
    ),
    _m(
        "an empty bin makes the KL infinite",
        "kl",
        "counts + 0.5",
        "counts",
        "test_plane_metrics.py",
    ),
    _m(
        "half of the Jensen-Shannon divergence",
        "js",
        "to_middle(masses) + to_middle(q)",
        "to_middle(masses)",
        "test_plane_metrics.py",
    ),
    _m(
        "modes reach less far than three standard deviations",
        "modes_of",
        "REACH**2",
        "REACH",
        "test_plane_metrics.py",
    ),
    _m(
        "the Frechet distance forgets what is shared",
        "frechet",
        "2 * shared",
        "shared",
        "test_gan.py::test_the_distance_of_gaussians_is_known",
    ),
]

DOORS = [
    _m(
        "settings have no upper bound",
        "knob",
        "le=high",
        "le=None",
        "test_config.py",
    ),
    _m(
        "settings that nobody knows are taken",
        "RunConfig",
        'extra="forbid"',
        'extra="ignore"',
        "test_config.py",
    ),
    _m(
        "a changed copy of a config is not checked",
        "RunConfig.replace",
        "self.parse({**self.model_dump(), **values})",
        "self.model_copy(update=values)",
        "test_config.py",
    ),
    _m(
        "an archive may have any number of files",
        "open_zip",
        "_entries(file) > most",
        "False",
        "test_own_images.py",
        "test_imports.py",
        "test_defects.py",
    ),
    _m(
        "any packing of a zip is taken",
        "_problem",
        "member.compress_type not in _METHODS",
        "False",
        "test_own_images.py",
    ),
    _m(
        "files of an imported run may have any size",
        "_chosen",
        "member.file_size > limit",
        "False",
        "test_imports.py",
    ),
    _m(
        "weights of another shape are taken",
        "check_fit",
        "entry.shape != tuple(weight.shape)",
        "False",
        "test_weights.py",
        "test_store.py",
    ),
    _m(
        "what could not be saved is called finished",
        "_end",
        'state == "finished" and self.record.problem',
        "False",
        "test_store.py::test_a_training_goes_on_when_the_disk_is_full_but_does_not_call_itself_finished",
    ),
    _m(
        "weights that are no numbers are taken",
        "read_weights",
        "not torch.isfinite(weight).all()",
        "False",
        "test_weights.py",
    ),
    _m(
        "a diverged run ends with exit code 0",
        "",
        '"diverged": 1',
        '"diverged": 0',
        "test_cli.py::test_a_diverged_run_ends_with_1_and_still_tells_in_json",
    ),
    _m(
        "a finished run is resumed",
        "main",
        'status.state == "finished"',
        "False",
        "test_cli.py::test_a_finished_run_cannot_be_resumed",
    ),
    _m(
        "text of a person is drawn as Markdown",
        "plain",
        r'_SIGNS.sub(r"\\\g<0>", apart)',
        "apart",
        "test_hostile_pages.py::test_text_stays_text",
    ),
    _m(
        "a value of an address is taken without its bounds",
        "_fill_from_url",
        "value = getattr(alone, knob.name)",
        "value = given[knob.name]",
        "test_pages.py",
    ),
]

LAB = [
    _m(
        "who has runs at work gets the next slot too",
        "in_turn",
        "busy[who], last.get",
        "last.get",
        "test_class.py::test_slots_go_to_people_in_turn",
    ),
    _m(
        "a person may have one more at work",
        "in_turn",
        "busy[owner] >= limit",
        "busy[owner] > limit",
        "test_class.py::test_who_has_the_limit_at_work_is_held_and_nobody_else",
    ),
    _m(
        "more train at a time than there are slots",
        "Workers.free",
        "free.remove(worker.device)",
        "pass",
        "test_lab.py::test_two_train_at_once_and_the_others_wait_in_line",
    ),
    _m(
        "single runs wait behind comparisons",
        "Queue.add",
        "patient or v.run.id not in self._patient",
        "True",
        "test_compare.py::test_runs_of_a_comparison_let_single_ones_pass_and_stop_together",
    ),
    _m(
        "who has signed in may change all runs",
        "lets_change",
        "self.owner == who.id",
        "who.id",
        "test_class.py::test_nobody_reaches_the_run_of_another_through_any_call",
    ),
    _m(
        "all runs are seen by all",
        "lets_see",
        "self.shared or",
        "True or",
        "test_class.py::test_nobody_reaches_the_run_of_another_through_any_call",
    ),
    _m(
        "runs of nobody are everybody's",
        "lets_change",
        "bool(self.owner) and",
        "",
        "test_class.py::test_a_run_without_an_owner_is_for_admins",
    ),
    _m(
        "runs leave when they are warned",
        "plan",
        "warned[r] <= now",
        "warned[r]",
        "test_class.py::test_a_lab_warns_waits_and_deletes",
        "test_class.py::test_the_oldest_leave_first_and_are_warned_before",
    ),
    _m(
        "an address that was not verified makes an admin",
        "person",
        'user.get("email_verified") is True',
        "True",
        "test_door.py",
    ),
    _m(
        "the door lets everybody in",
        "door",
        "person() != STRANGER",
        "True",
        "test_door.py",
    ),
]

MUTATIONS = [*MODELS, *LOSSES, *LOOP, *RUNS, *NUMBERS, *DOORS, *LAB]

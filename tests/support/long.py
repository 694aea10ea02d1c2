"""The long form of the suite: truths that take long to see and that a change seldom touches alone.

They are marked ``long`` and left out unless asked for: ``pytest -m long`` runs them, ``pytest -m ""`` runs all, and so does
``python -m tests.robustness slow``, whose counts are committed. What stays in the suite of every day sees the same code in
another size, dtype, mode or notebook.
"""

LONG = (
    *(
        f"tests/browser/test_accessibility.py::test_the_dashboard_has_no_serious_violation[{name}]"
        for name in ("dark", "data", "phone", "side by side")
    ),
    "tests/browser/test_accessibility.py::test_the_lab_page_has_no_serious_violation[phone]",
    "tests/browser/test_dashboard.py::test_a_bad_address_is_refused_in_words_and_a_good_picture_shown[?n_passes",
    "tests/browser/test_dashboard.py::test_a_bad_address_is_refused_in_words_and_a_good_picture_shown[?sleep_pass",
    "tests/browser/test_explorer.py::test_dark_mode_outlives_a_reload",
    "tests/browser/test_explorer.py::test_a_model_chosen_after_other_settings_were_changed_begins_at_its_own",
    "tests/browser/test_explorer.py::test_help_of_every_pane_is_whole_on_the_screen",
    "tests/browser/test_explorer.py::test_the_tour_walks_through_four_steps",
    "tests/browser/test_lab.py::test_a_run_is_started_seen_to_train_stopped_gone_on_with_and_finished",
    "tests/browser/test_explorer.py::test_the_colours_are_the_systems_until_the_visitor_chooses[light]",
    *(
        f"tests/contracts/test_notebooks.py::test_a_notebook_runs_in_small_and_ends_with_a_verdict[{name}]"
        for name in ("anatomy", "fig2a", "fig3", "fig4", "fig5", "fig6", "generalisation", "passes-or-layers")
    ),
    "tests/contracts/test_notebooks.py::test_the_quickstart_runs_without_sleep_and_with_one_pass_asleep",
    "tests/experiments/test_sweep.py::test_a_cell_whose_process_is_killed_goes_on_in_another",
    "tests/experiments/test_sweep.py::test_an_interrupted_sweep_leaves_checkpoints_and_goes_on",
    "tests/interpreted/test_checks.py::test_a_slightly_wrong_gate_does_not_pass",
    "tests/interpreted/test_checks.py::test_right_kernels_pass[dtype0",
    "tests/interpreted/test_delta.py::test_channels_that_are_no_power_of_two_and_several_blocks_of_values",
    "tests/interpreted/test_projections.py::test_a_model_learns_the_same_through_it",
    "tests/interpreted/test_projections.py::test_blocks_of_values_one_after_the_other_in_one_program",
    "tests/interpreted/test_projections.py::test_gates_far_from_zero",
    "tests/interpreted/test_projections.py::test_grouped_heads_and_several_programs_of_a_head[1-3",
    "tests/interpreted/test_projections.py::test_grouped_heads_and_several_programs_of_a_head[2-2",
    "tests/interpreted/test_projections.py::test_one_token_a_chunk_and_a_sweep",
    "tests/model/test_ablations.py::test_compiled_blocks_give_the_gradients_of_eager_ones",
    "tests/model/test_compiled.py::test_a_truncated_gradient_adds_the_graphs_of_passes_without_one_and_no_more",
    "tests/model/test_compiled.py::test_blocks_compiled_to_machine_code_give_the_gradients_of_eager_ones",
    "tests/model/test_compiled.py::test_checkpointing_of_compiled_passes_changes_no_bit_and_adds_no_graph",
    "tests/model/test_compiled.py::test_compiled_blocks_give_the_loss_state_and_gradients_of_eager_ones[changes1",
    "tests/model/test_compiled.py::test_evaluation_adds_one_graph_for_each_that_training_has",
    "tests/model/test_compiled.py::test_neither_depth_nor_passes_nor_windows_add_a_graph[attn gdn attn gdn attn gdn]",
    "tests/model/test_kinds.py::test_compiled_blocks_give_the_gradients_of_eager_ones",
    "tests/ops/test_gated_delta_rule.py::test_it_compiles_without_a_graph_break[chunked]",
    "tests/ops/test_triton.py::test_the_interpreted_kernels_pass_the_long_form",
    "tests/sleep/test_backward.py::test_each_kind_of_checkpointing_keeps_less_than_the_one_before",
    "tests/sleep/test_backward.py::test_what_one_more_window_keeps_is_what_the_docstring_says",
    "tests/test_output.py::test_closed_streams_are_quiet_and_no_file_is_taken_for_one[2>&-]",
    "tests/test_output.py::test_closed_streams_are_quiet_and_no_file_is_taken_for_one[<&-]",
    "tests/test_signals.py::test_a_run_that_is_asked_to_end_keeps_its_last_step_and_goes_on_bit_for_bit[SIGHUP",
    "tests/test_signals.py::test_a_run_that_is_asked_to_end_keeps_its_last_step_and_goes_on_bit_for_bit[SIGINT--2-in-update]",
    "tests/test_signals.py::test_a_run_that_is_asked_to_end_keeps_its_last_step_and_goes_on_bit_for_bit[SIGTERM-143-after-step]",
    "tests/test_signals.py::test_the_workers_of_a_sweep_end_with_it_and_leave_checkpoints[1-129]",
    "tests/test_signals.py::test_the_workers_of_a_sweep_end_with_it_and_leave_checkpoints[15-143]",
    "tests/training/test_distributed.py::test_a_process_that_dies_ends_the_others_and_the_last_checkpoint_leads_on",
    "tests/training/test_distributed.py::test_a_stopped_run_goes_on_in_another_number_of_processes",
    "tests/training/test_distributed.py::test_the_folder_of_another_run_ends_all_processes",
    "tests/training/test_modes.py::test_a_run_of_every_kind_that_is_stopped_ends_with_the_same_bits[compiled]",
    "tests/training/test_modes.py::test_a_run_of_every_kind_that_is_stopped_ends_with_the_same_bits[everything]",
    "tests/training/test_modes.py::test_a_run_of_every_kind_that_is_stopped_ends_with_the_same_bits[sliding]",
    "tests/training/test_train.py::test_a_run_killed_three_times_ends_with_the_same_bits",
    "tests/zoo/test_probe.py::test_the_command_fits_the_same_probe_twice",
)
"""Beginnings of the names of tests."""

"""Python scripts of Snakemake rules, run in processes that have imported what they need.

Snakemake starts Python anew for each job with a ``script:``, and most of a small job's time goes
into imports. Here one process imports what scripts import at their top, and forks. A forked process
runs one script after the other, each as if Python had been started for it.

- `snakemake_warm_scripts.child` is what a forked process does.
- `snakemake_warm_scripts.process` is how the process that sends it scripts sees it.
- `snakemake_warm_scripts.imports` imports what scripts need.
- `snakemake_warm_scripts.usage` measures what a script uses.
- `snakemake_warm_scripts.server` imports and forks, for a Snakemake on the same machine.
- `snakemake_warm_scripts.runs` is that Snakemake's side of it.

A warm pod (`snakemake_executor_plugin_kubernetes_pvc.worker`) imports and forks by itself.
"""

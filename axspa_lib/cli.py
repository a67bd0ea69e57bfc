"""The `axspa` command. Every error a user can cause is one sentence on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from axspa_lib.study.errors import AxspaError

_PROFILE = "a profile of data_manifest/profiles.yaml or of your profiles.local.yaml (%(default)s)"
_WORKERS = "processes (all cores: %(default)s); changes no result"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
        options.run(options)
    except AxspaError as error:
        print(f"axspa: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("axspa: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="axspa", description="Sacro-iliac MRI to a diagnosis of axial spondyloarthritis"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    study = commands.add_parser("study", help="execute the study and, with --render, the book")
    study.add_argument("--profile", default="quick", help=_PROFILE)
    study.add_argument("--cores", type=_positive, default=os.cpu_count() or 1, help="cores (all: %(default)s)")
    study.add_argument("--dry-run", action="store_true", help="only say what would run, and what it would cost")
    study.add_argument("--render", action="store_true", help="render the book afterwards")
    study.add_argument("--workflow-profile", metavar="FOLDER", help="Snakemake profile of a cluster")
    study.add_argument("snakemake", nargs="*", help="further Snakemake arguments, after --")
    study.set_defaults(run=_study)

    render = commands.add_parser("render", help="render the book from executed notebooks, executing nothing")
    render.add_argument("--profile", default=None, help="take this profile's notebooks (otherwise those stored)")
    render.add_argument("--recompute", action="store_true", help="first compute again what needs no image")
    render.set_defaults(run=_render)

    store = commands.add_parser("store", help="keep a profile's chapters, predictions and tables with the repository")
    store.add_argument("--profile", default="quick", help=_PROFILE)
    store.set_defaults(run=_store)

    sample = commands.add_parser("sample", help="keep images of a few simulated patients of a run with the repository")
    sample.add_argument("--profile", default="quick", help=_PROFILE)
    sample.add_argument("--patients", type=_positive, default=4, help="how many (%(default)s)")
    sample.set_defaults(run=_sample)

    phantom = commands.add_parser("phantom", help="simulate a cohort as DICOM with readers and truth")
    phantom.add_argument("out", type=Path, help="folder of the cohort; the same command again goes on where it stopped")
    phantom.add_argument(
        "--cohort",
        default="phantom-desir",
        choices=["phantom-desir", "phantom-asas"],
        help="25 centres and three readers (default), or another mix of scanners and six readers",
    )
    phantom.add_argument("--patients", type=_positive, default=20, help="number of patients (%(default)s)")
    phantom.add_argument("--prevalence", type=float, default=0.33, help="share with the disease, 0 to 1 (%(default)s)")
    phantom.add_argument(
        "--follow-up",
        type=float,
        metavar="CHANGE",
        help="examine everyone twice: the second time inflammation is CHANGE times what it was (0: gone)",
    )
    phantom.add_argument(
        "--progression", type=float, metavar="SHARE", help="with --follow-up: growth of structural damage (0: none)"
    )
    phantom.add_argument("--seed", type=int, default=2022, help="same seed, same files (%(default)s)")
    phantom.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, help=_WORKERS)
    phantom.set_defaults(run=_phantom)

    curate = commands.add_parser("curate", help="turn an export (DICOM, NIfTI) into a curated cohort with a report")
    curate.add_argument("source", type=Path, help="folder of the export; its layout: data_manifest/templates/README.md")
    curate.add_argument("out", type=Path, help="folder of the curated cohort, apart from the export")
    curate.add_argument(
        "--kind",
        default="auto",
        choices=["auto", "dicom", "nifti", "vhi", "phantom"],
        help="what the export is (auto: found by looking)",
    )
    curate.add_argument("--seed", type=int, default=2022, help="of the splits by patient (%(default)s)")
    curate.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, help=_WORKERS)
    curate.add_argument("--keep-disagreement", action="store_true", help="keep patients whose readers disagree")
    curate.add_argument(
        "--refine", action="store_true", help="move STIR onto T1 by a rigid registration where that improves the match"
    )
    curate.add_argument("--no-splits", action="store_true", help="a cohort that is only tested on")
    curate.add_argument("--dry-run", action="store_true", help="read and judge, write nothing")
    curate.set_defaults(run=_curate)

    download = commands.add_parser("download", help="fetch a public collection by manifest; call again to resume")
    download.add_argument("collection", help="a key of data_manifest/sources.yaml: vhi, iaxspa-demo")
    download.add_argument("out", type=Path, help="folder to fetch into")
    download.add_argument("--mirror", type=Path, help="a local copy in place of the network (default: $AXSPA_MIRROR)")
    download.set_defaults(run=_download)
    return parser


def _study(options: argparse.Namespace) -> None:
    from axspa_lib.book.workflow import run_study

    run_study(
        options.profile,
        options.cores,
        dry_run=options.dry_run,
        executor_profile=options.workflow_profile,
        extra=options.snakemake,
    )
    if options.render and not options.dry_run:
        from axspa_lib.book.render import render

        render(options.profile)


def _render(options: argparse.Namespace) -> None:
    from axspa_lib.book.render import render
    from axspa_lib.study.config import load_study

    if options.profile is not None:
        load_study(options.profile)
    render(options.profile, recompute=options.recompute)


def _store(options: argparse.Namespace) -> None:
    from axspa_lib.book.render import store

    folder = store(options.profile)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"stored in {folder}: {size / 1e6:.1f} MB")


def _sample(options: argparse.Namespace) -> None:
    from axspa_lib.book.sample import make_sample

    folder, patients = make_sample(options.profile, options.patients)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"images of {', '.join(patients)} in {folder}: {size / 1e6:.1f} MB")


def _phantom(options: argparse.Namespace) -> None:
    from axspa_lib.study.config import parse_study

    size = {"patients": options.patients, "prevalence": options.prevalence}
    study = parse_study({"phantoms": {options.cohort: size}, "seed": options.seed})
    spec = study.phantoms[options.cohort]

    from axspa_lib.phantom.cohort import simulate_cohort
    from axspa_lib.phantom.person.disease import FollowUp

    if options.follow_up is None and options.progression is not None:
        raise AxspaError("--progression says what changes until the second time: give --follow-up too (1: no change)")
    since = None if options.follow_up is None else FollowUp(options.follow_up, options.progression or 0.0)
    simulate_cohort(options.cohort, spec, study.seed, options.out, since=since, workers=options.workers, progress=True)
    twice = "" if since is None else ", each examined twice,"
    print(f"{options.patients} patients of {options.cohort}{twice} in {options.out}")


def _curate(options: argparse.Namespace) -> None:
    from axspa_lib.curation.curate import curate
    from axspa_lib.curation.open import open_source
    from axspa_lib.curation.report import format_counts
    from axspa_lib.study.config import load_study

    if not options.source.is_dir():
        raise AxspaError(f"no folder {options.source}: name the folder of the export")
    source, out = options.source.resolve(), options.out.resolve()
    if source == out or source in out.parents or out in source.parents:
        raise AxspaError("SOURCE and OUT lie in each other: curate into a folder of its own")
    study = load_study("paper")
    opened = open_source(options.source, options.kind)
    missing = getattr(opened, "missing", [])
    if missing:
        print(f"{len(missing)} files of the collection {opened.name} are not there, the first: {missing[0]}")
    curate(
        opened,
        options.out,
        seed=options.seed,
        bones_split=None if options.no_splits else study.bones.split,
        detection_split=None if options.no_splits else study.detector.split,
        require_agreement=not options.keep_disagreement,
        refine=options.refine,
        workers=options.workers,
        dry_run=options.dry_run,
        progress=True,
    )
    if not options.dry_run:  # which prints the counts itself
        print(format_counts(options.out))


def _download(options: argparse.Namespace) -> None:
    from axspa_lib.curation.download import fetch_collection

    try:
        print(fetch_collection(options.collection, options.out, mirror=options.mirror))
    except OSError as error:
        raise AxspaError(
            f"{options.out}: cannot be written ({type(error).__name__}); choose a folder you may write to"
        ) from None


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""`fda` from Python: one function a command, with the same claims, records and refusals as the command line.

>>> import fda
>>> fda.PreprocessOptions(train_frames=6).eval_frames
12

Options in, a result out: both are frozen dataclasses. A `listener` hears events (`RunPlanned`, `ItemsDone`, `Message`,
...) while the function works; warnings are in the result, too. docs/python.md leads from a folder of clips to a
similarity matrix.

Everything is imported when it is first used, so that `import fda` takes a few milliseconds and loads neither torch nor
dask nor cv2.
"""

from __future__ import annotations

import gc
import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.errors import DivergedError as DivergedError
    from encoders.errors import EncoderError as EncoderError
    from encoders.errors import ModelError as ModelError
    from encoders.errors import WeightsError as WeightsError
    from encoders.options import Activation as Activation
    from encoders.options import ModelSource as ModelSource
    from encoders.options import Pooling as Pooling
    from encoders.options import Precision as Precision
    from encoders.options import WeightsLayout as WeightsLayout
    from encoders.temporal.options import TemporalOptions as TemporalOptions
    from encoders.training.options import TrainOptions as TrainOptions
    from pipeline.clips.dataset import ClipDataset as ClipDataset
    from pipeline.clips.options import AlphaSource as AlphaSource
    from pipeline.datasets.options import SourceOptions as SourceOptions
    from pipeline.datasets.records import DatasetError as DatasetError
    from pipeline.demo.options import DemoOptions as DemoOptions
    from pipeline.demo.result import DemoResult as DemoResult
    from pipeline.demo.run import demo as demo
    from pipeline.doctor.checks import Check as Check
    from pipeline.doctor.checks import State as State
    from pipeline.doctor.run import DoctorResult as DoctorResult
    from pipeline.doctor.run import doctor as doctor
    from pipeline.errors import InputError as InputError
    from pipeline.errors import OptionError as OptionError
    from pipeline.errors import PipelineError as PipelineError
    from pipeline.evaluation.comparing.compare import Comparison as Comparison
    from pipeline.evaluation.comparing.pairing import CaptionsDifferError as CaptionsDifferError
    from pipeline.evaluation.evaluate import TooManyMissingError as TooManyMissingError
    from pipeline.evaluation.options import BootstrapOptions as BootstrapOptions
    from pipeline.evaluation.options import CompareOptions as CompareOptions
    from pipeline.evaluation.options import EvalExtras as EvalExtras
    from pipeline.evaluation.options import EvalOptions as EvalOptions
    from pipeline.evaluation.protocols import Ties as Ties
    from pipeline.evaluation.run import EvalReport as EvalReport
    from pipeline.evaluation.run import compare as compare
    from pipeline.evaluation.run import evaluate as evaluate
    from pipeline.evaluation.slices.figure import NothingToDrawError as NothingToDrawError
    from pipeline.experiments.folder import ExperimentBusyError as ExperimentBusyError
    from pipeline.experiments.folder import ExperimentMismatchError as ExperimentMismatchError
    from pipeline.experiments.options import ExperimentKind as ExperimentKind
    from pipeline.experiments.options import ExperimentOptions as ExperimentOptions
    from pipeline.experiments.run import ExperimentPreview as ExperimentPreview
    from pipeline.experiments.run import ExperimentResult as ExperimentResult
    from pipeline.experiments.run import experiment as experiment
    from pipeline.experiments.run import preview_experiment as preview_experiment
    from pipeline.exporting.options import ExportFormat as ExportFormat
    from pipeline.exporting.options import ExportOptions as ExportOptions
    from pipeline.exporting.options import FrameImages as FrameImages
    from pipeline.exporting.options import VectorType as VectorType
    from pipeline.exporting.place import ExportBusyError as ExportBusyError
    from pipeline.exporting.place import ExportWriteError as ExportWriteError
    from pipeline.exporting.run import ExportResult as ExportResult
    from pipeline.exporting.run import export as export
    from pipeline.exporting.writer import MissingPackageError as MissingPackageError
    from pipeline.features.options import EncodeOptions as EncodeOptions
    from pipeline.features.run import EncodePreview as EncodePreview
    from pipeline.features.run import EncodeResult as EncodeResult
    from pipeline.features.run import encode as encode
    from pipeline.features.run import preview_encoding as preview_encoding
    from pipeline.features.weights import WeightsResult as WeightsResult
    from pipeline.features.weights import weights as weights
    from pipeline.frames.missing import VideosMissingError as VideosMissingError
    from pipeline.frames.options import DecodingOptions as DecodingOptions
    from pipeline.frames.options import PreprocessOptions as PreprocessOptions
    from pipeline.frames.run import PreprocessResult as PreprocessResult
    from pipeline.frames.run import preprocess as preprocess
    from pipeline.imports.embeddings import Embeddings as Embeddings
    from pipeline.imports.options import ImportOptions as ImportOptions
    from pipeline.imports.run import ImportResult as ImportResult
    from pipeline.imports.run import import_features as import_features
    from pipeline.inspection.options import InspectFiles as InspectFiles
    from pipeline.inspection.options import InspectOptions as InspectOptions
    from pipeline.inspection.run import InspectionResult as InspectionResult
    from pipeline.inspection.run import inspect as inspect
    from pipeline.mask_imports.options import MaskImportOptions as MaskImportOptions
    from pipeline.mask_imports.options import Missing as Missing
    from pipeline.mask_imports.run import import_masks as import_masks
    from pipeline.masks.options import Compensation as Compensation
    from pipeline.masks.options import Cuts as Cuts
    from pipeline.masks.options import Difference as Difference
    from pipeline.masks.options import Fill as Fill
    from pipeline.masks.options import MaskOptions as MaskOptions
    from pipeline.masks.options import ThresholdMode as ThresholdMode
    from pipeline.masks.options import WhenEmpty as WhenEmpty
    from pipeline.masks.options import WhenFull as WhenFull
    from pipeline.masks.overlap import MaskOverlap as MaskOverlap
    from pipeline.masks.overlap import VideoOverlap as VideoOverlap
    from pipeline.masks.overlap import mask_overlap as mask_overlap
    from pipeline.masks.pending import MasksResult as MasksResult
    from pipeline.masks.run import make_masks as make_masks
    from pipeline.pooling.options import PoolOptions as PoolOptions
    from pipeline.pooling.run import PoolResult as PoolResult
    from pipeline.pooling.run import pool_features as pool_features
    from pipeline.reporting.options import ReportOptions as ReportOptions
    from pipeline.reporting.run import ReportResult as ReportResult
    from pipeline.reporting.run import report as report
    from pipeline.run.checkpoints import CheckpointBusyError as CheckpointBusyError
    from pipeline.run.checkpoints import CheckpointMismatchError as CheckpointMismatchError
    from pipeline.run.events import EvaluationDone as EvaluationDone
    from pipeline.run.events import Event as Event
    from pipeline.run.events import ItemsDone as ItemsDone
    from pipeline.run.events import Message as Message
    from pipeline.run.events import RunPlanned as RunPlanned
    from pipeline.run.events import StepDone as StepDone
    from pipeline.run.limits import Limit as Limit
    from pipeline.run.options import ClusterOptions as ClusterOptions
    from pipeline.run.options import RunOptions as RunOptions
    from pipeline.run.options import SourceCheck as SourceCheck
    from pipeline.run.overwriting import UnconfirmedError as UnconfirmedError
    from pipeline.run.partition import Partition as Partition
    from pipeline.search.answers import Answer as Answer
    from pipeline.search.answers import FrameScore as FrameScore
    from pipeline.search.answers import Hit as Hit
    from pipeline.search.answers import SearchResult as SearchResult
    from pipeline.search.engine import SearchEngine as SearchEngine
    from pipeline.search.options import By as By
    from pipeline.search.options import Filters as Filters
    from pipeline.search.options import Find as Find
    from pipeline.search.options import Query as Query
    from pipeline.search.options import QueryKind as QueryKind
    from pipeline.search.options import SearchFiles as SearchFiles
    from pipeline.search.options import SearchOptions as SearchOptions
    from pipeline.search.run import search as search
    from pipeline.serving.app import create_app as create_app
    from pipeline.serving.options import ConversionOptions as ConversionOptions
    from pipeline.serving.options import ServeOptions as ServeOptions
    from pipeline.serving.run import PortError as PortError
    from pipeline.serving.run import ServeResult as ServeResult
    from pipeline.serving.run import serve as serve
    from pipeline.synthetic.costs import GenerationCost as GenerationCost
    from pipeline.synthetic.options import BackgroundMotion as BackgroundMotion
    from pipeline.synthetic.options import Codec as Codec
    from pipeline.synthetic.options import GenerateOptions as GenerateOptions
    from pipeline.synthetic.run import GenerateResult as GenerateResult
    from pipeline.synthetic.run import generate as generate
    from pipeline.synthetic.run import preview_generation as preview_generation
    from pipeline.synthetic.suites import Size as Size
    from pipeline.synthetic.suites import Suite as Suite
    from pipeline.training.options import FinetuneOptions as FinetuneOptions
    from pipeline.training.presets import Preset as Preset
    from pipeline.training.presets import load_preset as load_preset
    from pipeline.training.presets import preset_names as preset_names
    from pipeline.training.run import FinetuneResult as FinetuneResult
    from pipeline.training.run import finetune as finetune
    from pipeline.upkeep.options import RemoveOptions as RemoveOptions
    from pipeline.upkeep.run import FinaliseResult as FinaliseResult
    from pipeline.upkeep.run import RemoveResult as RemoveResult
    from pipeline.upkeep.run import StatusResult as StatusResult
    from pipeline.upkeep.run import VerifyResult as VerifyResult
    from pipeline.upkeep.run import finalise as finalise
    from pipeline.upkeep.run import remove as remove
    from pipeline.upkeep.run import status as status
    from pipeline.upkeep.run import verify as verify
    from pipeline.video.options import Keep as Keep
    from pipeline.video.options import Resize as Resize
    from pipeline.video.options import Sampling as Sampling
    from pipeline.video.options import SamplingMode as SamplingMode
    from pipeline.workers.clusters import job_script as job_script
    from pipeline.workers.job_settings import ClusterError as ClusterError
    from store.errors import NotInStoreError as NotInStoreError
    from store.errors import ShardDamagedError as ShardDamagedError
    from store.errors import ShardIncompleteError as ShardIncompleteError
    from store.errors import StoreBusyError as StoreBusyError
    from store.errors import StoreError as StoreError
    from store.errors import StoreFormatError as StoreFormatError
    from store.errors import StoreMismatchError as StoreMismatchError
    from store.errors import StoreMissingError as StoreMissingError
    from store.view import StoreView as StoreView
    from store.view import open_store as open_store

_MODULES = {
    "encoders.errors": ("DivergedError", "EncoderError", "ModelError", "WeightsError"),
    "encoders.options": ("Activation", "ModelSource", "Pooling", "Precision", "WeightsLayout"),
    "encoders.temporal.options": ("TemporalOptions",),
    "encoders.training.options": ("TrainOptions",),
    "pipeline.clips.dataset": ("ClipDataset",),
    "pipeline.clips.options": ("AlphaSource",),
    "pipeline.datasets.options": ("SourceOptions",),
    "pipeline.datasets.records": ("DatasetError",),
    "pipeline.demo.options": ("DemoOptions",),
    "pipeline.demo.result": ("DemoResult",),
    "pipeline.demo.run": ("demo",),
    "pipeline.doctor.checks": ("Check", "State"),
    "pipeline.doctor.run": ("DoctorResult", "doctor"),
    "pipeline.errors": ("InputError", "OptionError", "PipelineError"),
    "pipeline.evaluation.comparing.compare": ("Comparison",),
    "pipeline.evaluation.comparing.pairing": ("CaptionsDifferError",),
    "pipeline.evaluation.evaluate": ("TooManyMissingError",),
    "pipeline.evaluation.options": ("BootstrapOptions", "CompareOptions", "EvalExtras", "EvalOptions"),
    "pipeline.evaluation.protocols": ("Ties",),
    "pipeline.evaluation.run": ("EvalReport", "compare", "evaluate"),
    "pipeline.evaluation.slices.figure": ("NothingToDrawError",),
    "pipeline.experiments.folder": ("ExperimentBusyError", "ExperimentMismatchError"),
    "pipeline.experiments.options": ("ExperimentKind", "ExperimentOptions"),
    "pipeline.experiments.run": ("ExperimentPreview", "ExperimentResult", "experiment", "preview_experiment"),
    "pipeline.exporting.options": ("ExportFormat", "ExportOptions", "FrameImages", "VectorType"),
    "pipeline.exporting.place": ("ExportBusyError", "ExportWriteError"),
    "pipeline.exporting.run": ("ExportResult", "export"),
    "pipeline.exporting.writer": ("MissingPackageError",),
    "pipeline.features.options": ("EncodeOptions",),
    "pipeline.features.run": ("EncodePreview", "EncodeResult", "encode", "preview_encoding"),
    "pipeline.features.weights": ("WeightsResult", "weights"),
    "pipeline.frames.missing": ("VideosMissingError",),
    "pipeline.frames.options": ("DecodingOptions", "PreprocessOptions"),
    "pipeline.frames.run": ("PreprocessResult", "preprocess"),
    "pipeline.imports.embeddings": ("Embeddings",),
    "pipeline.imports.options": ("ImportOptions",),
    "pipeline.imports.run": ("ImportResult", "import_features"),
    "pipeline.inspection.options": ("InspectFiles", "InspectOptions"),
    "pipeline.inspection.run": ("InspectionResult", "inspect"),
    "pipeline.mask_imports.options": ("MaskImportOptions", "Missing"),
    "pipeline.mask_imports.run": ("import_masks",),
    "pipeline.masks.options": (
        "Compensation",
        "Cuts",
        "Difference",
        "Fill",
        "MaskOptions",
        "ThresholdMode",
        "WhenEmpty",
        "WhenFull",
    ),
    "pipeline.masks.overlap": ("MaskOverlap", "VideoOverlap", "mask_overlap"),
    "pipeline.masks.pending": ("MasksResult",),
    "pipeline.masks.run": ("make_masks",),
    "pipeline.pooling.options": ("PoolOptions",),
    "pipeline.pooling.run": ("PoolResult", "pool_features"),
    "pipeline.reporting.options": ("ReportOptions",),
    "pipeline.reporting.run": ("ReportResult", "report"),
    "pipeline.run.checkpoints": ("CheckpointBusyError", "CheckpointMismatchError"),
    "pipeline.run.events": ("EvaluationDone", "Event", "ItemsDone", "Message", "RunPlanned", "StepDone"),
    "pipeline.run.limits": ("Limit",),
    "pipeline.run.options": ("ClusterOptions", "RunOptions", "SourceCheck"),
    "pipeline.run.overwriting": ("UnconfirmedError",),
    "pipeline.run.partition": ("Partition",),
    "pipeline.search.answers": ("Answer", "FrameScore", "Hit", "SearchResult"),
    "pipeline.search.engine": ("SearchEngine",),
    "pipeline.search.options": ("By", "Filters", "Find", "Query", "QueryKind", "SearchFiles", "SearchOptions"),
    "pipeline.search.run": ("search",),
    "pipeline.serving.app": ("create_app",),
    "pipeline.serving.options": ("ConversionOptions", "ServeOptions"),
    "pipeline.serving.run": ("PortError", "ServeResult", "serve"),
    "pipeline.synthetic.costs": ("GenerationCost",),
    "pipeline.synthetic.options": ("BackgroundMotion", "Codec", "GenerateOptions"),
    "pipeline.synthetic.run": ("GenerateResult", "generate", "preview_generation"),
    "pipeline.synthetic.suites": ("Size", "Suite"),
    "pipeline.training.options": ("FinetuneOptions",),
    "pipeline.training.presets": ("Preset", "load_preset", "preset_names"),
    "pipeline.training.run": ("FinetuneResult", "finetune"),
    "pipeline.upkeep.options": ("RemoveOptions",),
    "pipeline.upkeep.run": (
        "FinaliseResult",
        "RemoveResult",
        "StatusResult",
        "VerifyResult",
        "finalise",
        "remove",
        "status",
        "verify",
    ),
    "pipeline.video.options": ("Keep", "Resize", "Sampling", "SamplingMode"),
    "pipeline.workers.clusters": ("job_script",),
    "pipeline.workers.job_settings": ("ClusterError",),
    "store.errors": (
        "NotInStoreError",
        "ShardDamagedError",
        "ShardIncompleteError",
        "StoreBusyError",
        "StoreError",
        "StoreFormatError",
        "StoreMismatchError",
        "StoreMissingError",
    ),
    "store.view": ("StoreView", "open_store"),
}
"""Module -> what is public of it. A test holds this and the imports above together."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)  # strings they are

__version__: str
"""Of the distribution that is installed, as `fda --version` prints it."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'fda' has no attribute {name!r}")
    value = getattr(_imported(_HOMES[name]), name)
    globals()[name] = value  # found at once from now on
    return value


def _installed_version() -> str:
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("fda"))
    except metadata.PackageNotFoundError as error:  # which is an ImportError, and would break `hasattr`
        raise AttributeError("fda runs from its folder and is not installed: its version is not known") from error


def _imported(module: str) -> ModuleType:
    """Import a module without looking for garbage meanwhile, and have what it loaded taken for old afterwards.

    There is hardly any, and each look goes through all that is loaded: a sixth of the time where torch is. The first
    look after that would be at all that has been loaded since, as if it were new: a tenth of a second.
    """
    if module in sys.modules:  # counting what is frozen takes 30 ms where much is, and most modules have several names
        return importlib.import_module(module)  # which waits for another thread that is at it
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if is_enabled:
            if not gc.get_freeze_count():  # what others froze must stay so
                gc.freeze()
                gc.unfreeze()  # moves all to the oldest generation, without looking at it
            gc.enable()


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})


def _take_own_packages() -> None:
    """Import the four packages from beside this file, whatever else is called like them.

    Their names are plain words, and Python looks into the folder of a script or notebook first: a `store.py` there
    would be taken for ours. Once they are in `sys.modules`, all below them is found through them. Each is empty, so
    that this costs nothing.

    Raises:
        ImportError: Another module of such a name has been imported already.
    """
    root = Path(__file__).resolve().parent
    for name in ("store", "encoders", "pipeline", "cli"):
        loaded = sys.modules.get(name)
        if loaded is None:
            spec = PathFinder.find_spec(name, [str(root)])
            if spec is None or spec.loader is None:
                raise ImportError(f"the package {name!r} is missing beside {__file__}: install fda again")
            sys.modules[name] = module = module_from_spec(spec)
            spec.loader.exec_module(module)
        elif str(root / name) not in map(str, getattr(loaded, "__path__", ())):
            where = getattr(loaded, "__file__", None) or "an unknown place"
            raise ImportError(
                f"a module {name!r} from {where} was imported before fda, which has a package of that name: rename "
                "that module"
            )


_take_own_packages()

import pytest
import yaml
from report_records import make_arch, make_record
from study_pieces import new_study

from acmix_nas.errors import SpaceError, StudyError, UsageError
from acmix_nas.experiments.networks import find_arch
from acmix_nas.models import named_arch

SWIN = "acmix_swin_tiny_patch4_window7_224"
ARCH = make_arch(("att", "conv", "learned", "learned"))


@pytest.fixture
def best(tmp_path):
    path = tmp_path / "swin_t-001" / "best.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({"arch_id": ARCH.id, "arch": ARCH.to_dict()}))
    return path


def test_names_and_files_are_found(best, tmp_path):
    assert find_arch(SWIN, tmp_path) == (SWIN, named_arch(SWIN))
    assert find_arch(str(best), tmp_path) == ("swin_t-001/best", ARCH)
    (tmp_path / "mine").write_text(best.read_text())
    assert find_arch(str(tmp_path / "mine"), tmp_path).name == "mine"
    with pytest.raises(SpaceError, match="cannot be read"):
        find_arch("none.yaml", tmp_path)


@pytest.mark.parametrize(
    ("word", "close"),
    [("acmix_resnet_50", "acmix_resnet50"), ("swin_tiny_patch4_window7_224", SWIN), ("pvt_tny", "acmix_pvt_tiny")],
)
def test_close_names_are_suggested(word, close, tmp_path):
    with pytest.raises(UsageError, match=f"no model '{word}'; did you mean .*{close}"):
        find_arch(word, tmp_path)


def test_a_word_like_nothing(tmp_path):
    with pytest.raises(UsageError, match=r"`acmix models` lists ours.*STUDY:NUMBER"):
        find_arch("???", tmp_path)


def test_trials_are_found(tmp_path):
    study = new_study(tmp_path, "demo")
    with pytest.raises(StudyError, match="demo has no trial 0; it has none yet"):
        find_arch("demo:0", tmp_path)
    study.finish(make_record(study.start({}, {}, "paper"), 0.5, arch=ARCH))
    assert find_arch("demo:0", tmp_path) == ("demo:0", ARCH)
    assert find_arch(f"{tmp_path / 'demo'}:0", tmp_path / "elsewhere").arch == ARCH
    with pytest.raises(StudyError, match="demo has no trial 7; it has 0 to 0"):
        find_arch("demo:7", tmp_path)
    with pytest.raises(StudyError, match=r"no study 'dem'.*--reports"):
        find_arch("dem:0", tmp_path)

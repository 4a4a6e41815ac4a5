"""Recipes: those that come with the package, those of a user, and values that cannot be."""

import pytest
from study_pieces import SPACE

from acmix_nas import registry
from acmix_nas.errors import RecordError
from acmix_nas.files import find_space
from acmix_nas.models import named_arch
from acmix_nas.space import Proxy, load_space
from acmix_nas.train import Budget, RecipeError
from acmix_nas.train.network import build_network, usual_drop_path
from acmix_nas.train.recipe import learning_rate
from acmix_nas.train.recipe_file import FOLDER, load_recipe, recipe_names

LEAST = "epochs: 4\nbatch_size: 8\nlearning_rate: 0.5\nwarmup_epochs: 1\n"


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        return str(file)

    return write


def test_every_host_and_head_has_a_recipe():
    assert recipe_names() == sorted([*registry.names("hosts"), *registry.names("heads")])


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_where_it_is_from_and_can_be_trained_with(name):
    header = [line for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
    for word in ("# Paper: ", "# Expected score: ", "# Command: "):
        assert any(line.startswith(word) for line in header)
    recipe = load_recipe(name)
    budget = recipe.budget(images=1_281_167)
    assert recipe.input_size == (512 if name in registry.names("heads") else 224)
    assert budget.max_shift == 0
    peak = max(learning_rate(budget, step) for step in range(0, budget.total_steps, 100))
    assert peak == pytest.approx(budget.learning_rate, rel=1e-2)


def test_the_papers_recipes_are_the_papers():
    resnet, swin = (load_recipe(name).budget(images=1_281_167) for name in ("resnet", "swin"))
    assert (resnet.optimizer, resnet.learning_rate, resnet.weight_decay, resnet.epochs) == ("sgd", 0.1, 1e-4, 90)
    assert (resnet.batch_size, resnet.label_smoothing, resnet.warmup) == (256, 0.1, 5 / 90)
    assert (swin.optimizer, swin.learning_rate, swin.batch_size) == ("adamw", 5e-4, 512)
    assert (swin.weight_decay, swin.epochs, swin.warmup) == (0.05, 300, 20 / 300)


def test_what_a_file_leaves_out_is_off(written):
    budget = load_recipe(written(LEAST)).budget(images=80)
    expected = Budget(
        epochs=4,
        images=80,
        batch_size=8,
        learning_rate=0.5,
        warmup=0.25,
        max_shift=0.0,
        clip_norm=None,
        weight_decay=0.0,
        label_smoothing=0.0,
    )
    assert budget == expected


def test_the_learning_rate_follows_the_batch_size_unless_it_is_given(written):
    recipe = load_recipe(written(LEAST))
    assert recipe.budget(images=80, batch_size=32).learning_rate == 2.0
    assert recipe.budget(images=80, batch_size=32, learning_rate=0.3).learning_rate == 0.3
    assert recipe.budget(images=80, batch_size=None).learning_rate == 0.5


def test_the_warm_up_keeps_its_share(written):
    budget = load_recipe(written(LEAST)).budget(images=80, epochs=8)
    rates = [learning_rate(budget, step) for step in range(budget.total_steps)]
    assert rates.index(max(rates)) in (19, 20)


def test_a_file_may_say_anything_of_a_budget(written):
    text = LEAST + "crop: [0.2, 0.9]\nclip_norm: 1\ncompile: true\nprecision: bf16\nema: 0.99\ninput_size: 96\n"
    recipe = load_recipe(written(text))
    budget = recipe.budget(images=80)
    assert (budget.crop, budget.clip_norm, budget.compile, budget.precision) == ((0.2, 0.9), 1, True, "bf16")
    assert (budget.ema, recipe.input_size, recipe.name) == (0.99, 96, "mine")
    assert recipe.having(drop_path=0.3, ema=0.5).budget(images=8).drop_path == 0.3
    assert recipe.having(drop_path=0.3, ema=0.5).budget(images=8).ema == 0.99


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "is a mapping of fields to values"),
        ("epochs: [\n", "is not read"),
        ("epochs: 3\n", "missing fields batch_size, learning_rate, warmup_epochs"),
        (LEAST + "momentun: 0.9\n", "unknown fields momentun"),
        (LEAST.replace("0.5", "5e-1"), "learning_rate '5e-1', which is no number"),
        (LEAST + "crop: 0.5\n", "crop 0.5, which is no list"),
        (LEAST + "compile: 1\n", "compile 1, which is no yes or no"),
        (LEAST + "accumulate: true\n", "accumulate True, which is no whole number"),
        (LEAST + "optimizer: adam\n", "optimizer is one of adamw, sgd, not 'adam'"),
        (LEAST + "crop: [0.5, 0.1]\n", "crop is two shares"),
        (LEAST + "rand_augment: auto\n", "rand_augment is in timm's words"),
        (LEAST + "rand_augment: rand-m9.5\n", "rand_augment is in timm's words"),
        (LEAST + "rand_augment: rand-m9-magic\n", "rand_augment is in timm's words"),
        (LEAST + "rand_augment: rand-m9-mmax0\n", "rand_augment is in timm's words"),
        (LEAST.replace("epochs: 4", "epochs: 0"), "epochs is a whole number from 1 up, not 0"),
        (LEAST.replace("warmup_epochs: 1", "warmup_epochs: 4"), "warmup is in [0, 1), not 1.0"),
    ],
)
def test_a_wrong_file_is_one_clear_error(written, text, said):
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(text))
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["nothing", "no/where.yaml"])
def test_an_unknown_recipe_is_refused_with_the_known_ones(name):
    with pytest.raises(RecipeError, match="there are pvt, resnet, san, semantic_fpn, swin, upernet"):
        load_recipe(name)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(RecipeError) as caught:
        Budget(epochs=1, images=9, batch_size=3, learning_rate=-1, ema=2.0, precision="fp8", clip_norm=0, steps=4)
    for said in ("learning_rate is 0 or more", "ema is in", "precision is one of", "clip_norm is more", "at 1 to 3"):
        assert said in str(caught.value)


def test_stochastic_depth_is_that_of_the_model_as_deep():
    assert usual_drop_path(named_arch("acmix_swin_small_patch4_window7_224")) == 0.3
    assert usual_drop_path(SPACE.build(SPACE.first["plain host"])) == 0.2
    assert usual_drop_path(named_arch("acmix_resnet50")) == 0.0
    assert usual_drop_path(None) == 0.0


def test_timms_own_models_are_built_for_the_images():
    model = build_network("vit_tiny_patch16_224", None, num_classes=3, in_chans=1, input_size=32, drop_path=0.1)
    assert (model.num_classes, model.patch_embed.grid_size) == (3, (2, 2))


OF_A_PROXY = "{input_size: 32, patch_size: 2, width: 0.25, depths: [2, 2, 2, 2], epochs: 2, images: 40, batch_size: 8, "
OF_A_PROXY += "learning_rate: 0.01, inert: allow, recipe: {fields}}"


@pytest.fixture
def own_proxy(tmp_path):
    def load(recipe):
        swin = find_space("swin_t").read_text()
        file = tmp_path / "mine.yaml"
        file.write_text(swin + "  mine: " + OF_A_PROXY.replace("{fields}", recipe) + "\n")
        return load_space(file).proxies["mine"]

    return load


def test_a_proxy_has_a_recipe_of_its_own(own_proxy):
    proxy = own_proxy("{scale: [0.5, 2], photometric: true, weight_decay: 0.1, label_smoothing: 0.2}")
    budget = Budget.of_proxy(proxy, images=40, device="cpu", label_smoothing=0.0)
    assert (budget.scale, budget.photometric, budget.weight_decay, budget.label_smoothing) == ((0.5, 2), True, 0.1, 0.2)
    assert (budget.epochs, budget.learning_rate) == (2, 0.01)
    assert Proxy.from_dict(proxy.to_dict()) == proxy
    assert "recipe" not in load_space("swin_t").proxies["cpu"].to_dict()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("{speed: 3}", "speed"), ("{scale: fast}", "scale"), ("{weight_decay: -1}", "weight_decay is 0 or more")],
)
def test_a_proxy_whose_recipe_cannot_be_is_one_error(own_proxy, recipe, message):
    with pytest.raises(RecordError, match=f"the recipe of the proxy mine.*{message}"):
        Budget.of_proxy(own_proxy(recipe), images=40, device="cpu")

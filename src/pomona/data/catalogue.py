"""The data sets that Pomona knows by name, and what their decoded bytes must be."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.core.canonical import digest


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is, without its bytes.

    Args:
        name: Name in the catalogue, or the user's reference as it was written.
        title: How a report calls it.
        shape: Channels, height and width of one image.
        classes: Number of classes; labels are 0 to classes - 1.
        train_count: Training images, before any validation part is taken from them.
        test_count: Test images.
        digests: SHA-256 of the bytes of the training images, training labels, test images and test labels:
            uint8 in C order, images N x C x H x W.
        mean: Mean of pixels/255 of the training images, per channel.
        sd: Their standard deviation, per channel.
        source: Who published it.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int
    train_count: int
    test_count: int
    digests: tuple[str, str, str, str]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    source: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the digests of the four parts: equal for equal bytes, wherever they came from."""
        return digest(list(self.digests))


DATASETS: dict[str, DatasetInfo] = {
    "mnist": DatasetInfo(
        name="mnist",
        title="MNIST",
        shape=(1, 28, 28),
        classes=10,
        train_count=60_000,
        test_count=10_000,
        digests=(
            "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        ),
        mean=(0.1307,),
        sd=(0.3081,),
        source="LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition",
    ),
    "fashion-mnist": DatasetInfo(
        name="fashion-mnist",
        title="Fashion-MNIST",
        shape=(1, 28, 28),
        classes=10,
        train_count=60_000,
        test_count=10_000,
        digests=(
            "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
            "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
            "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
            "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        ),
        mean=(0.2860,),
        sd=(0.3530,),
        source="Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
    ),
    "cifar-10": DatasetInfo(
        name="cifar-10",
        title="CIFAR-10",
        shape=(3, 32, 32),
        classes=10,
        train_count=50_000,
        test_count=10_000,
        digests=(
            "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
            "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
            "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        ),
        mean=(0.4914, 0.4822, 0.4465),
        sd=(0.2470, 0.2435, 0.2616),
        source="Krizhevsky 2009, Learning multiple layers of features from tiny images",
    ),
    # scikit-learn's values 0 to 16 become round(value * 255 / 16), halves up; the first 1,437 images train.
    "digits": DatasetInfo(
        name="digits",
        title="Digits 8x8",
        shape=(1, 8, 8),
        classes=10,
        train_count=1_437,
        test_count=360,
        digests=(
            "1a5fd3b5c524e826767083c882fe4f8c91850d3568a78caadaa66eb3fe78f5b6",
            "00d355536cfe54c3c5aaa1bbc756008bcc5ba7030407f225954ebda1d1ca46c9",
            "a422c8110b35908d8bc868469498d8bc67c5d5f4357631b3ded0ee283ca6a1e9",
            "7a7a9acee298b8862700d7c2a0341a0ee3744e1369c9107a26149f5d0e61b304",
        ),
        mean=(0.3054,),
        sd=(0.3753,),
        source="Alpaydin and Kaynak 1998, Optical recognition of handwritten digits, as in scikit-learn",
    ),
}

"""What the user tells the report about the clinic and the devices; nothing here is measured."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReportOptions:
    """Figures for waiting time, energy and cost.

    Attributes
    ----------
    title : of the page.
    films_per_day, hours_per_day : the clinic's load and opening hours.
    watts : power of a device while it is on, by its label in the result file; where a device is missing, its own
        sensor's reading if the file has one.
    price_per_kwh : price of electricity.
    device_price : by label; written off over `years`.
    years : useful life of a device.
    currency : word behind prices.
    """

    title: str = "Pneumonia detector on small computers"
    films_per_day: float = 200.0
    hours_per_day: float = 8.0
    watts: dict[str, float] = field(default_factory=dict)
    price_per_kwh: float | None = None
    device_price: dict[str, float] = field(default_factory=dict)
    years: float = 3.0
    currency: str = "USD"

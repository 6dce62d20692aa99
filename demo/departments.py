"""The departments of a sample organisation, a hospital: divisions, departments, sections and teams below one root."""

from collections.abc import Iterator
from itertools import count, islice
from random import Random
from typing import NamedTuple

from demo.people import Name


class Department(NamedTuple):
    """One row of the department tree."""

    id: int
    parent_id: int | None
    name: Name
    is_active: bool


ROOT = Name("مستشفى النيل التعليمي", "Nile Teaching Hospital")
DIVISIONS: dict[Name, tuple[Name, ...]] = {
    Name("الشؤون الطبية", "Medical Affairs"): (
        Name("أمراض القلب", "Cardiology"),
        Name("الجراحة العامة", "General Surgery"),
        Name("طب الأطفال", "Paediatrics"),
        Name("النساء والتوليد", "Obstetrics and Gynaecology"),
        Name("طب الطوارئ", "Emergency Medicine"),
        Name("جراحة العظام", "Orthopaedics"),
        Name("الأورام", "Oncology"),
    ),
    Name("التمريض", "Nursing"): (
        Name("تمريض الرعاية المركزة", "Intensive Care Nursing"),
        Name("تمريض العمليات", "Theatre Nursing"),
        Name("تمريض الأقسام الداخلية", "Ward Nursing"),
        Name("مكافحة العدوى", "Infection Control"),
    ),
    Name("التشخيص", "Diagnostics"): (
        Name("الأشعة", "Radiology"),
        Name("المعامل", "Laboratories"),
        Name("بنك الدم", "Blood Bank"),
    ),
    Name("الصيدلة والإمداد", "Pharmacy and Supply"): (
        Name("الصيدلية الداخلية", "Inpatient Pharmacy"),
        Name("الصيدلية الخارجية", "Outpatient Pharmacy"),
        Name("المخازن", "Stores"),
        Name("المشتريات", "Purchasing"),
    ),
    Name("الشؤون الإدارية", "Administration"): (
        Name("الموارد البشرية", "Human Resources"),
        Name("شؤون المرضى", "Patient Affairs"),
        Name("الشؤون القانونية", "Legal Affairs"),
        Name("الجودة", "Quality"),
    ),
    Name("الشؤون المالية", "Finance"): (
        Name("الحسابات", "Accounts"),
        Name("التأمين والمطالبات", "Insurance and Claims"),
        Name("الخزينة", "Treasury"),
    ),
    Name("الهندسة والمرافق", "Engineering and Facilities"): (
        Name("الهندسة الطبية", "Biomedical Engineering"),
        Name("الصيانة", "Maintenance"),
        Name("السلامة والصحة المهنية", "Occupational Safety"),
    ),
    Name("تكنولوجيا المعلومات", "Information Technology"): (
        Name("الشبكات", "Networks"),
        Name("النظم والتطبيقات", "Systems and Applications"),
        Name("الدعم الفني", "Service Desk"),
    ),
    Name("الخدمات", "Support Services"): (
        Name("التغذية", "Catering"),
        Name("النظافة", "Housekeeping"),
        Name("الأمن", "Security"),
        Name("النقل", "Transport"),
    ),
}
SECTIONS = (
    Name("المبنى الرئيسي", "Main Building"),
    Name("المبنى الشرقي", "East Building"),
    Name("العيادات الخارجية", "Outpatient Clinics"),
    Name("الوردية الليلية", "Night Shift"),
    Name("المكتب", "Office"),
)


def draw_departments(number: int, random: Random) -> list[Department]:
    """Draw a department tree.

    Args:
        number: How many departments, the root included. From about 250 on, teams below the sections make up the number.
        random: The source of chance; the same state gives the same tree.

    Returns:
        The departments by id. Some have a parent with a higher id than their own, as after a reorganisation; about one
        in forty of the lowest ones is no longer active.
    """
    places = list(islice(_grow_tree(), number))
    ids = list(range(1, number + 1))
    for _ in range(number // 20):
        one, other = random.randrange(number), random.randrange(number)
        ids[one], ids[other] = ids[other], ids[one]
    parents = {parent for parent, _ in places}
    departments = [
        Department(
            ids[place],
            None if parent is None else ids[parent],
            name,
            place in parents or random.random() >= 1 / 40,
        )
        for place, (parent, name) in enumerate(places)
    ]
    return sorted(departments)


def _grow_tree() -> Iterator[tuple[int | None, Name]]:
    """Yield (place of the parent in this sequence, name), level by level, without end."""
    yield None, ROOT
    level: list[tuple[int, Name]] = []
    place = count(1)
    for division in DIVISIONS:
        yield 0, division
        level.append((next(place), division))
    departments: list[tuple[int, Name]] = []
    for parent, division in level:
        for name in DIVISIONS[division]:
            yield parent, name
            departments.append((next(place), name))
    sections: list[tuple[int, Name]] = []
    for section in SECTIONS:
        for parent, department in departments:
            name = Name(f"{department.ar} - {section.ar}", f"{department.en} - {section.en}")
            yield parent, name
            sections.append((next(place), name))
    for team in count(1):
        for parent, section in sections:
            yield parent, Name(f"{section.ar} - فريق {team}", f"{section.en} - Team {team}")

"""Plausible people with Arabic and English names: first name, father's, grandfather's and family name."""

from random import Random
from typing import NamedTuple


class Name(NamedTuple):
    """One name in both scripts."""

    ar: str
    en: str


class Person(NamedTuple):
    """Someone's four names, as they were given."""

    first: Name
    second: Name
    third: Name
    last: Name


def _names(text: str) -> tuple[Name, ...]:
    return tuple(Name(*(part.strip() for part in pair.split("="))) for pair in text.split(","))


MALE_NAMES = _names("""
    محمد=Mohamed, أحمد=Ahmed, محمود=Mahmoud, مصطفى=Mostafa, علي=Ali, حسن=Hassan, حسين=Hussein,
    إبراهيم=Ibrahim, يوسف=Youssef, خالد=Khaled, عمر=Omar, عمرو=Amr, طارق=Tarek, كريم=Karim, شريف=Sherif,
    هشام=Hesham, وليد=Walid, ياسر=Yasser, سامي=Sami, سمير=Samir, عادل=Adel, ماهر=Maher, نبيل=Nabil,
    هاني=Hany, رامي=Ramy, أيمن=Ayman, أشرف=Ashraf, إيهاب=Ihab, جمال=Gamal, كمال=Kamal, صلاح=Salah,
    سعيد=Said, فؤاد=Fouad, فاروق=Farouk, مجدي=Magdy, مدحت=Medhat, ناصر=Nasser, حمدي=Hamdy, رضا=Reda,
    زكريا=Zakaria, سيف=Seif, عاطف=Atef, عبد الله=Abdallah, عبد الرحمن=Abdelrahman, عبد العزيز=Abdelaziz,
    عصام=Essam, عماد=Emad, جورج=George, مينا=Mina, بيتر=Peter, مارك=Mark, يحيى=Yehia, إسلام=Islam,
    بلال=Belal, تامر=Tamer, حازم=Hazem, زياد=Ziad
""")
FEMALE_NAMES = _names("""
    فاطمة=Fatma, مريم=Mariam, عائشة=Aisha, زينب=Zeinab, خديجة=Khadija, سارة=Sara, نور=Nour, منى=Mona,
    هدى=Hoda, سلمى=Salma, ياسمين=Yasmin, دينا=Dina, رانيا=Rania, هبة=Heba, إيمان=Eman, أمل=Amal,
    أسماء=Asmaa, آية=Aya, ندى=Nada, ريم=Reem, سحر=Sahar, سميرة=Samira, نادية=Nadia, نجلاء=Naglaa,
    وفاء=Wafaa, شيماء=Shaimaa, مروة=Marwa, غادة=Ghada, عبير=Abeer, لمياء=Lamia, إنجي=Engy,
    كريستين=Christine, ماري=Mary, حنان=Hanan, رشا=Rasha, صفاء=Safaa, عزة=Azza, فريدة=Farida, لبنى=Lobna,
    نهى=Noha
""")
FAMILY_NAMES = _names("""
    السيد=El-Sayed, الشافعي=El-Shafei, المصري=El-Masry, عبد الحميد=Abdelhamid, عبد الفتاح=Abdelfattah,
    الشريف=El-Sherif, النجار=El-Naggar, الحداد=El-Haddad, البنا=El-Banna, الصاوي=El-Sawy, الجمل=El-Gamal,
    العطار=El-Attar, الديب=El-Deeb, شاهين=Shaheen, منصور=Mansour, رمضان=Ramadan, سليمان=Soliman,
    عثمان=Osman, حافظ=Hafez, زيدان=Zidan, غالي=Ghali, بطرس=Boutros, فرج=Farag, قنديل=Kandil, مرسي=Morsy,
    نصار=Nassar, هلال=Helal, يونس=Younes, عوض=Awad, خليل=Khalil, صالح=Saleh, بدوي=Badawy, توفيق=Tawfik,
    جابر=Gaber, حجازي=Hegazy, درويش=Darwish, راشد=Rashed, زهران=Zahran, سالم=Salem, شعبان=Shaaban, طه=Taha,
    عامر=Amer, غنيم=Ghoneim, فهمي=Fahmy, قاسم=Kassem, لطفي=Lotfy, مكاوي=Mekkawy, نوفل=Nofal, وهبة=Wahba,
    أبو زيد=Abou Zeid
""")


def draw_person(random: Random) -> Person:
    """Draw a person; about four in ten are women.

    Args:
        random: The source of chance; the same state gives the same person.

    Returns:
        The four names, complete and clean.
    """
    first_names = FEMALE_NAMES if random.random() < 0.4 else MALE_NAMES  # noqa: PLR2004
    return Person(
        first_names[int(random.random() * len(first_names))],
        MALE_NAMES[int(random.random() * len(MALE_NAMES))],
        MALE_NAMES[int(random.random() * len(MALE_NAMES))],
        draw_family_name(random),
    )


def draw_family_name(random: Random) -> Name:
    """Draw a family name."""
    return FAMILY_NAMES[int(random.random() * len(FAMILY_NAMES))]


def make_account_name(person: Person) -> str:
    """Give the login name of a person as administrators form it, for example `mona.el-sayed`; not unique."""
    return f"{person.first.en}.{person.last.en}".lower().replace(" ", "")

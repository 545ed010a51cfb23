"""National identity, tax and health numbers, one row a country's number; the check digits are python-stdnum's.

A row without labels has a shape or enough check digits to be told from any other number where it stands alone.
"""

from __future__ import annotations

import re

from processors.sensitivity.detector import Detector, Validator, standard, varied
from schemas.classes import DataClass

_NINO = re.compile(rb"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]")


def _nino(value: bytes) -> bool:
    """The prefixes that HMRC does not issue (National Insurance Manual NIM39110)."""
    return _NINO.match(value) is not None


def _varied(module: str) -> Validator:
    check = standard(module)

    def validate(value: bytes) -> bool:
        return varied(value) and check(value)

    return validate


def _id(
    name: str,
    pattern: str,
    check: str | Validator,
    good: str,
    bad: str,
    *labels: str,
    data_class: DataClass = DataClass.NATIONAL_ID,
) -> Detector:
    """One number: its cases stand behind the first label where it has any, and the bare number is then a case that must not match."""
    lead = f"{labels[0]}: " if labels else ""
    return Detector(
        name=name,
        data_class=data_class,
        pattern=rf"\b(?:{pattern})\b",
        validate=_varied(check) if isinstance(check, str) else check,
        labels=labels,
        must=(lead + good,),
        must_not=(lead + bad, "7" + good, *((good,) if labels else ())),
    )


DETECTORS = (
    _id("us_ssn", r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", "us.ssn", "157-36-8193", "945-80-7302"),
    _id("us_ssn_bare", r"[0-8][0-9]{8}", "us.ssn", "157368193", "000368193", "ssn", "social security", "social security number"),
    _id("us_itin", r"9[0-9]{2}-[5-9][0-9]-[0-9]{4}", "us.itin", "903-76-4262", "903-66-4262"),
    _id("us_ein", r"[0-9]{2}-[0-9]{7}", "us.ein", "91-1144442", "07-1144442", "ein", "employer id", "tax id"),
    _id("uk_nino", r"[A-CEGHJ-PR-TW-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", _nino, "AB 12 34 56 C", "BG 12 34 56 C"),
    _id("uk_nhs", r"[0-9]{3} [0-9]{3} [0-9]{4}", "gb.nhs", "886 096 2005", "570 154 9327"),
    _id("uk_nhs_bare", r"[0-9]{10}", "gb.nhs", "8860962005", "5701549327", "nhs", "nhs number"),
    _id(
        "fr_nir",
        r"[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        "fr.nir",
        "1 85 05 75 684 177 12",
        "1 85 05 75 907 593 71",
    ),
    _id(
        "de_idnr",
        r"[1-9][0-9]{10}|[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}",
        "de.idnr",
        "76356180694",
        "64518887739",
        "steuer id",
        "idnr",
        "steueridentifikationsnummer",
        "tin",
    ),
    _id("es_dni", r"[0-9]{8}-?[A-HJ-NP-TV-Z]", "es.dni", "97818548P", "24730825A"),
    _id("es_nie", r"[XYZ]-?[0-9]{7}-?[A-HJ-NP-TV-Z]", "es.nie", "X0922059N", "X5441325G"),
    _id(
        "it_codice_fiscale",
        r"[A-Z]{6}[0-9]{2}[A-EHLMPR-T][0-9]{2}[A-Z][0-9]{3}[A-Z]",
        "it.codicefiscale",
        "RCCMNL83S18D969H",
        "RCCMNL83S18D969X",
    ),
    _id("br_cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "br.cpf", "358.907.388-87", "690.591.390-72"),
    _id("br_cpf_bare", r"[0-9]{11}", "br.cpf", "35890738887", "69059139072", "cpf"),
    _id("br_cnpj", r"[0-9]{2}\.[0-9]{3}\.[0-9]{3}/[0-9]{4}-[0-9]{2}", "br.cnpj", "29.824.003/0001-21", "04.712.386/0001-50"),
    _id("in_aadhaar", r"[2-9][0-9]{3} [0-9]{4} [0-9]{4}", "in_.aadhaar", "3615 9802 1086", "2740 9832 8725"),
    _id("in_aadhaar_bare", r"[2-9][0-9]{11}", "in_.aadhaar", "361598021086", "274098328725", "aadhaar", "aadhar", "uidai"),
    _id(
        "in_pan",
        r"[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]",
        "in_.pan",
        "ABCPE1234F",
        "ABCPE0000F",
        "pan",
        "pan card",
        "permanent account",
    ),
    _id(
        "ca_sin",
        r"[1-9][0-9]{2}[ -]?[0-9]{3}[ -]?[0-9]{3}",
        "ca.sin",
        "153 210 182",
        "418 404 238",
        "sin",
        "social insurance",
        "nas",
    ),
    _id("au_tfn", r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", "au.tfn", "203 618 166", "577 252 232", "tfn", "tax file"),
    _id("nz_ird", r"[0-9]{2,3}-?[0-9]{3}-?[0-9]{3}", "nz.ird", "76261369", "01479861", "ird"),
    _id("nl_bsn", r"[0-9]{9}", "nl.bsn", "096802662", "278721432", "bsn", "burgerservicenummer", "sofinummer"),
    _id("be_nn", r"[0-9]{2}\.?[01][0-9]\.?[0-3][0-9]-[0-9]{3}[.-][0-9]{2}", "be.nn", "850728-464-45", "850728-558-80"),
    _id(
        "se_personnummer",
        r"[0-9]{6}[-+][0-9]{4}|(?:19|20)[0-9]{6}-[0-9]{4}",
        "se.personnummer",
        "640823-7474",
        "640823-4218",
        "personnummer",
        "pnr",
        "personal number",
    ),
    _id("fi_hetu", r"[0-3][0-9][01][0-9]{3}[-+A][0-9]{3}[0-9A-FHJ-NPR-Y]", "fi.hetu", "131052-202C", "131052-987C"),
    _id(
        "dk_cpr", r"[0-3][0-9][01][0-9]{3}-[0-9]{4}", "dk.cpr", "211062-8960", "451362-8960", "cpr", "cpr nummer", "personnummer"
    ),
    _id(
        "no_fodselsnummer",
        r"[0-7][0-9]{10}",
        "no.fodselsnummer",
        "15108637789",
        "15108622424",
        "fodselsnummer",
        "personnummer",
        "fnr",
    ),
    _id("pl_pesel", r"[0-9]{11}", "pl.pesel", "44051487113", "44051461728", "pesel"),
    _id("cz_rc", r"[0-9]{6}/[0-9]{3,4}", "cz.rc", "710319/5000", "710319/2852"),
    _id("bg_egn", r"[0-9]{10}", "bg.egn", "7523160780", "7523160198", "egn"),
    _id("ro_cnp", r"[1-9][0-9]{12}", "ro.cnp", "1630615123457", "1630615123458", "cnp", "cod numeric personal"),
    _id(
        "cn_ric",
        r"[1-8][0-9]{5}(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9X]",
        "cn.ric",
        "11010519491231686X",
        "110105194912316860",
    ),
    _id("kr_rrn", r"[0-9]{2}[01][0-9][0-3][0-9]-[0-9]{7}", "kr.rrn", "971013-9019902", "971013-9019903"),
    _id("tr_kimlik", r"[1-9][0-9]{10}", "tr.tckimlik", "24388002838", "91462058088", "tckn", "kimlik", "tc kimlik"),
    _id(
        "za_id",
        r"[0-9]{2}[01][0-9][0-3][0-9]{8}",
        "za.idnr",
        "7503045627193",
        "7503046388891",
        "sa id",
        "id number",
        "identity number",
    ),
    _id("mx_curp", r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", "mx.curp", "BOXW310820HNERXN09", "BOXW310820HNERXN08"),
    _id("cl_rut", r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9K]", "cl.rut", "13.647.877-K", "86.521.299-7"),
    _id("ch_ahv", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", "ch.ssn", "756.9810.6975.01", "756.7968.7906.22"),
    _id(
        "at_vnr",
        r"[1-9][0-9]{3} ?[0-3][0-9][01][0-9]{3}",
        "at.vnr",
        "7405150367",
        "2910150367",
        "svnr",
        "sozialversicherungsnummer",
        "vnr",
    ),
    _id("gr_amka", r"[0-3][0-9][01][0-9]{8}", "gr.amka", "01018108488", "01018176190", "amka"),
    _id("ie_pps", r"[0-9]{7}[A-W][A-IW]?", "ie.pps", "0135107V", "1772997C", "pps", "ppsn"),
    _id("il_id", r"[0-9]{9}", "il.idnr", "859053191", "235604961", "teudat zehut", "mispar zehut"),
    _id("ee_isikukood", r"[1-8][0-9]{10}", "ee.ik", "36805280109", "36805280108", "isikukood"),
    _id("lt_asmens_kodas", r"[1-6][0-9]{10}", "lt.asmens", "33309240064", "33309240065", "asmens kodas"),
    _id("hr_oib", r"[0-9]{11}", "hr.oib", "97292916179", "92958134078", "oib"),
    _id(
        "th_pin",
        r"[1-9](?:[0-9]{12}|-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9])",
        "th.pin",
        "4703070095590",
        "9633341138918",
        "thai id",
        "citizen id",
    ),
    _id("ua_rntrc", r"[0-9]{10}", "ua.rntrc", "0108684592", "2387262369", "rnokpp", "ipn"),
    _id("ru_inn", r"[0-9]{12}", "ru.inn", "297315680919", "964605803250", "inn"),
    _id("ec_cedula", r"[0-9]{10}", "ec.ci", "2114873447", "2255559983", "cedula"),
    _id("pk_cnic", r"[1-7][0-9]{4}-[0-9]{7}-[0-9]", "pk.cnic", "34201-3522663-1", "04201-3522663-1"),
    _id("my_nric", r"[0-9]{2}[01][0-9][0-3][0-9]-[0-9]{2}-[0-9]{4}", "my.nric", "770305-02-4574", "771305-02-4574"),
    _id(
        "passport",
        r"[A-Z]{1,2}[0-9]{6,8}|[0-9]{9}|[A-Z][0-9]{2}[A-Z0-9]{6}|[0-9]{2}[A-Z]{2}[0-9]{5}",
        varied,
        "C01X00T47",
        "C0",
        "passport",
        "passeport",
        "reisepass",
        "pasaporte",
        "passaporto",
        data_class=DataClass.PASSPORT,
    ),
)

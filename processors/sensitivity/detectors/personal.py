"""What is said of somebody: birth, health, names. These have no check digits, so words around the value carry them."""

from __future__ import annotations

from processors.sensitivity.detector import Detector
from schemas.classes import DataClass

_DATE = (
    r"\b(?:(?:19|20)[0-9]{2}[-/.](?:0?[1-9]|1[0-2])[-/.](?:[12][0-9]|3[01]|0?[1-9])|(?:[12][0-9]|3[01]|0?[1-9])[-/.](?:[12][0-9]|3[01]|0?[1-9])[-/.](?:19|20)?[0-9]{2}"
    r"|(?:[12][0-9]|3[01]|0?[1-9])\.? (?i:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]{0,7} (?:19|20)[0-9]{2})\b"
)

DETECTORS = (
    Detector(
        name="birth_date",
        data_class=DataClass.DATE_OF_BIRTH,
        pattern=_DATE,
        labels=(
            "dob",
            "born",
            "born on",
            "date of birth",
            "birth date",
            "birthday",
            "geb",
            "geboren am",
            "geburtsdatum",
            "né le",
            "née le",
            "fecha de nacimiento",
            "nacid[oa] el",
            "data di nascita",
            "nat[oa] il",
            "date de naissance",
            "data de nascimento",
            "nascid[oa] em",
            "geboortedatum",
            "geboren op",
            "data urodzenia",
            "urodzon[ya]",
            "datum narození",
            "födelsedatum",
            "fødselsdato",
            "syntymäaika",
            "doğum tarihi",
        ),
        must=(
            "DOB: 1984-03-07",
            "born on 7 March 1984",
            "geboren am 07.03.1984",
            "nacida el 07-03-1984",
            "geboortedatum: 7-3-1984",
        ),
        must_not=("1984-03-07", "DOB: 1984-13-47", "airborne 1984-03-07"),
    ),
    Detector(
        name="icd10",
        data_class=DataClass.HEALTH,
        pattern=r"\b[A-TV-Z][0-9][0-9AB](?:\.[0-9A-Z]{1,4})?\b",
        labels=(
            "icd",
            "icd10",
            "icd 10",
            "diagnosis",
            "diagnosis code",
            "dx",
            "diagnose",
            "diagnostic",
            "diagnóstico",
            "diagnostico",
            "diagnosi",
            "diagnoza",
            "diagnóza",
            "diagnos",
            "tanı",
        ),
        must=("ICD-10: E11.9", "diagnosis J45.901", "diagnóstico: J45.9"),
        must_not=("E11.9", "diagnosis: none", "ICD-10: U1"),
    ),
    Detector(
        name="medical_record",
        data_class=DataClass.HEALTH,
        pattern=r"\b[A-Z]{0,3}-?[0-9]{5,10}\b",
        labels=("mrn", "medical record", "patient id", "patientennummer"),
        must=("MRN: 00482913", "patient id A-482913"),
        must_not=("MRN: 12", "order id 482913"),
    ),
    Detector(
        name="health_words",
        data_class=DataClass.HEALTH,
        pattern=r"(?i:\b(?:diagnosed with|hiv[ -]positive|suffers from|chemotherapy|insulin[ -]dependent|prescribed [a-z]{4,20} [0-9]{1,4} ?mg|blood type (?:ab|a|b|o)[+-]|diagnose: [a-z]{4,30}|erkrankt an))",
        must=("was diagnosed with asthma", "prescribed metformin 500mg", "HIV-positive since May"),
        must_not=("diagnostics passed", "prescribed by the manual", "blood orange"),
        isolated=False,
    ),
    Detector(
        name="titled_name",
        data_class=DataClass.PERSON_NAME,
        pattern=r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Monsieur|Madame|Sr|Sra|Sig|Señora?)\.? [A-Z\x80-\xff][a-z'\x80-\xff]{1,25}(?:[ -][A-Z\x80-\xff][A-Za-z'\x80-\xff]{1,25}){0,3}",
        must=("Dr. Ada Lovelace", "with Mrs Hopper", "Frau Müller-Lüdenscheidt"),
        must_not=("Dr. who", "mr x", "Mrs."),
        isolated=False,
    ),
    Detector(
        name="labelled_name",
        data_class=DataClass.PERSON_NAME,
        pattern=r"[A-Z\x80-\xff][a-z'\x80-\xff]{1,25}(?:[ -][A-Z\x80-\xff][A-Za-z'\x80-\xff]{1,25}){1,3}",
        labels=("name", "full name", "customer name", "patient", "contact", "nom", "nombre", "cardholder", "account holder"),
        must=("Name: Ada Lovelace", "cardholder: Grace Brewster Hopper"),
        must_not=("name: unknown", "rename: Ada Lovelace", "name: X"),
        isolated=False,
    ),
)

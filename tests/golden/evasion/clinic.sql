-- A clinic's database, and what somebody hid in it.
CREATE SCHEMA billing;
CREATE SCHEMA sec;
CREATE SCHEMA audit;
CREATE SCHEMA lab;
CREATE SCHEMA tools;

CREATE DOMAIN public.icd10 AS text CHECK (VALUE ~ '^[A-Z][0-9]{2}');
CREATE TYPE public.visit_state AS ENUM ('booked', 'arrived', 'seen', 'billed', 'cancelled');

CREATE TABLE public.staff (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, full_name text NOT NULL, role text NOT NULL, email text,
    salary numeric(10, 2), active boolean NOT NULL DEFAULT true, hired_on date NOT NULL DEFAULT current_date
);
CREATE TABLE public.patients (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mrn text NOT NULL UNIQUE, full_name text NOT NULL, born date NOT NULL,
    ssn text, email text, phone text, address text, notes text, blood_type text, consent jsonb NOT NULL DEFAULT '{}',
    deleted_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    tenant_id integer NOT NULL DEFAULT 1
);
CREATE TABLE public.visits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, patient_id bigint NOT NULL REFERENCES public.patients ON DELETE CASCADE,
    staff_id integer REFERENCES public.staff, at timestamptz NOT NULL DEFAULT now(), state public.visit_state NOT NULL DEFAULT 'booked',
    reason text, room smallint, version integer NOT NULL DEFAULT 1
);
CREATE INDEX visits_patient ON public.visits (patient_id);
CREATE TABLE public.prescriptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, visit_id bigint NOT NULL REFERENCES public.visits ON DELETE CASCADE,
    drug text NOT NULL, dose_mg numeric NOT NULL CHECK (dose_mg > 0), refills smallint NOT NULL DEFAULT 0, ends_on date,
    signed boolean NOT NULL DEFAULT false
);
CREATE TABLE public.diagnoses (visit_id bigint NOT NULL REFERENCES public.visits, code public.icd10 NOT NULL, PRIMARY KEY (visit_id, code));
CREATE TABLE public.rooms (number smallint PRIMARY KEY, floor smallint NOT NULL, cleaned_at timestamptz);
CREATE TABLE public.jobs (
    id bigserial PRIMARY KEY, kind text NOT NULL, payload jsonb, run_at timestamptz NOT NULL DEFAULT now(), locked_by text, done boolean NOT NULL DEFAULT false
);
CREATE TABLE billing.invoices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, visit_id bigint REFERENCES public.visits, amount numeric(10, 2) NOT NULL,
    iban text, card_number text, paid boolean NOT NULL DEFAULT false, issued_on date NOT NULL DEFAULT current_date, due_on date
);
CREATE TABLE billing.payments (id bigserial PRIMARY KEY, invoice_id bigint NOT NULL REFERENCES billing.invoices, amount numeric(10, 2) NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE sec.credentials (staff_id integer PRIMARY KEY REFERENCES public.staff, login text NOT NULL UNIQUE, password_hash text NOT NULL, totp_secret text, failed smallint NOT NULL DEFAULT 0);
CREATE TABLE sec.sessions (token text PRIMARY KEY, staff_id integer REFERENCES public.staff, expires_at timestamptz NOT NULL);
CREATE TABLE audit.access_log (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), who text NOT NULL DEFAULT current_user, what text, patient_id bigint);
CREATE TABLE audit.changes (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), table_name text, row_id text, before jsonb, after jsonb);

-- Measurements by month, and documents that inherit.
CREATE TABLE lab.results (id bigint GENERATED ALWAYS AS IDENTITY, patient_id bigint NOT NULL, taken_at timestamptz NOT NULL, test text NOT NULL, value double precision, flagged boolean DEFAULT false) PARTITION BY RANGE (taken_at);
CREATE TABLE lab.results_2025 PARTITION OF lab.results FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE lab.results_2026 PARTITION OF lab.results FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE public.documents (id bigserial PRIMARY KEY, patient_id bigint, title text, body text, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE public.scans (dpi integer, image bytea) INHERITS (public.documents);
CREATE TABLE public.letters (sent_on date) INHERITS (public.documents);

-- Views, some of which write.
CREATE VIEW public.current_patients AS SELECT id, mrn, full_name, born, email, phone, tenant_id FROM public.patients WHERE deleted_at IS NULL;
CREATE VIEW public.every_patient AS SELECT * FROM public.patients WHERE id IS NOT NULL;
CREATE VIEW public.my_visits AS SELECT v.* FROM public.visits v JOIN public.staff s ON s.id = v.staff_id;
CREATE VIEW public.waiting AS SELECT id, patient_id, at FROM public.visits WHERE state = 'arrived';
CREATE VIEW sec.logins AS SELECT login, password_hash AS proof FROM sec.credentials;
CREATE MATERIALIZED VIEW billing.monthly AS SELECT date_trunc('month', issued_on) AS month, sum(amount) AS total FROM billing.invoices GROUP BY 1;

-- Code: what is honest ...
CREATE FUNCTION public.age_of(p bigint) RETURNS integer LANGUAGE sql STABLE AS $$ SELECT extract(year FROM age(born))::int FROM public.patients WHERE id = p $$;
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER patients_touch BEFORE UPDATE ON public.patients FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE FUNCTION public.book(p bigint, s integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v bigint;
BEGIN INSERT INTO public.visits (patient_id, staff_id) VALUES (p, s) RETURNING id INTO v; RETURN v; END $$;
CREATE FUNCTION public.discharge(v bigint) RETURNS void LANGUAGE sql AS $$ UPDATE public.visits SET state = 'seen' WHERE id = v $$;
CREATE PROCEDURE public.settle(i bigint) LANGUAGE plpgsql AS $$ BEGIN UPDATE billing.invoices SET paid = true WHERE id = i; END $$;
-- ... and what is not.
CREATE FUNCTION tools.tidy() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.visits; RETURN 0; END $$;
CREATE FUNCTION tools.tidy_sql() RETURNS void LANGUAGE sql AS $$ DELETE FROM public.prescriptions $$;
CREATE FUNCTION tools.harmless(x integer) RETURNS integer LANGUAGE sql AS $$ SELECT tools.tidy() + x $$;
CREATE FUNCTION tools.run(q text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE q; END $$;
CREATE FUNCTION tools.count_of(t regclass) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN EXECUTE 'SELECT count(*) FROM ' || t INTO n; RETURN n; END $$;
CREATE FUNCTION tools.forget(p bigint) RETURNS boolean LANGUAGE sql AS $$ DELETE FROM public.patients WHERE id = p RETURNING true $$;
CREATE FUNCTION tools.chain(n bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.jobs WHERE id = n; IF n > 0 THEN PERFORM tools.chain(n - 1); END IF; END $$;
CREATE FUNCTION tools.pingpong_a(n bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE public.visits SET room = 0 WHERE id = n; PERFORM tools.pingpong_b(n + 1); EXCEPTION WHEN others THEN NULL; END $$;
CREATE FUNCTION tools.pingpong_b(n bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM tools.pingpong_a(n); END $$;
CREATE FUNCTION tools.quiet() RETURNS text LANGUAGE sql AS $$ SELECT set_config('session_replication_role', 'replica', false) $$;
CREATE FUNCTION tools.elevate() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN ALTER ROLE app SUPERUSER; END $$;
CREATE FUNCTION tools.peek() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$ SELECT login || ':' || password_hash FROM sec.credentials $$;
CREATE FUNCTION tools.nap(x double precision) RETURNS boolean LANGUAGE sql AS $$ SELECT pg_sleep(x) IS NOT NULL $$;
CREATE PROCEDURE tools.night() LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM public.jobs LOOP DELETE FROM public.jobs WHERE id = r.id; COMMIT; END LOOP; END $$;
CREATE FUNCTION tools.wipe(p public.patients) RETURNS text LANGUAGE sql AS $$ UPDATE public.patients SET notes = NULL; SELECT 'ok' $$;
CREATE FUNCTION tools.step(s integer, x integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN TRUNCATE public.rooms; RETURN s; END $$;
CREATE AGGREGATE tools.total(integer) (SFUNC = tools.step, STYPE = integer, INITCOND = '0');
CREATE FUNCTION tools.like_op(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit.access_log; RETURN true; END $$;
CREATE OPERATOR tools.=~= (LEFTARG = text, RIGHTARG = text, FUNCTION = tools.like_op);
CREATE FUNCTION public.always(a bigint, b text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT true $$;
CREATE OPERATOR public.=== (LEFTARG = bigint, RIGHTARG = text, FUNCTION = public.always);
CREATE FUNCTION tools.valid(t text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM sec.sessions; RETURN true; END $$;
CREATE DOMAIN tools.checked AS text CHECK (tools.valid(VALUE));
CREATE FUNCTION tools.takes(t tools.checked) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE TYPE tools.wrapped AS (a integer, b tools.checked);
CREATE TYPE tools.mood AS ENUM ('calm', 'angry');
CREATE FUNCTION tools.mood_of(x integer) RETURNS tools.mood LANGUAGE plpgsql AS $$ BEGIN UPDATE public.staff SET salary = 0; RETURN 'calm'; END $$;
CREATE CAST (integer AS tools.mood) WITH FUNCTION tools.mood_of(integer);
CREATE FUNCTION tools.stolen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN TRUNCATE audit.changes; RETURN NEW; END $$;
CREATE TRIGGER rooms_trap AFTER UPDATE ON public.rooms FOR EACH STATEMENT EXECUTE FUNCTION tools.stolen();
CREATE RULE letters_gone AS ON UPDATE TO public.letters DO INSTEAD DELETE FROM public.letters;
CREATE VIEW tools.switch AS SELECT 1 AS on_off;
CREATE RULE switch_off AS ON UPDATE TO tools.switch DO INSTEAD UPDATE sec.credentials SET failed = 99;
CREATE VIEW tools.counted AS SELECT tools.tidy() AS n;
CREATE FUNCTION tools.default_id() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN DELETE FROM billing.payments; RETURN 1; END $$;
CREATE TABLE tools.trap (id bigint DEFAULT tools.default_id(), x integer);
CREATE FUNCTION tools.index_me(x integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN DELETE FROM billing.payments; RETURN x; END $$;
CREATE TABLE tools.indexed (x integer);
CREATE INDEX ON tools.indexed (tools.index_me(x));
CREATE TABLE tools.policed (x integer);
ALTER TABLE tools.policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON tools.policed USING (tools.harmless(x) > 0);
ALTER TABLE public.patients ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON public.patients USING (tenant_id = 1);
CREATE FUNCTION tools.now() RETURNS timestamptz LANGUAGE sql AS $$ DELETE FROM public.jobs RETURNING now() $$;
CREATE FUNCTION tools.lower(t text) RETURNS text LANGUAGE sql AS $$ SELECT 'same' $$;

INSERT INTO public.staff (full_name, role, email, salary) SELECT 'Staff ' || n, CASE n % 3 WHEN 0 THEN 'doctor' ELSE 'nurse' END, 's' || n || '@clinic.example', 3000 + n FROM generate_series(1, 60) n;
INSERT INTO public.patients (mrn, full_name, born, ssn, email, deleted_at) SELECT 'M' || n, 'Patient ' || n, date '1950-01-01' + n % 20000, '078-05-' || lpad((n % 9999)::text, 4, '0'), 'p' || n || '@mail.example', CASE WHEN n % 50 = 0 THEN now() END FROM generate_series(1, 20000) n;
INSERT INTO public.visits (patient_id, staff_id, at, state, room) SELECT 1 + n % 20000, 1 + n % 60, timestamptz '2026-01-01' + n * interval '2 min', CASE WHEN n % 10 = 0 THEN 'arrived' ELSE 'billed' END::public.visit_state, n % 12 FROM generate_series(1, 120000) n;
INSERT INTO public.prescriptions (visit_id, drug, dose_mg) SELECT n, 'drug' || n % 40, 10 FROM generate_series(1, 30000) n;
INSERT INTO public.rooms SELECT n, n / 4 FROM generate_series(1, 12) n;
INSERT INTO public.jobs (kind) SELECT 'mail' FROM generate_series(1, 50) n;
INSERT INTO billing.invoices (visit_id, amount, iban) SELECT n, 50, 'DE89370400440532013000' FROM generate_series(1, 30000) n;
INSERT INTO lab.results (patient_id, taken_at, test, value) SELECT 1 + n % 20000, timestamptz '2025-06-01' + n * interval '5 min', 'hb', 12 FROM generate_series(1, 120000) n;
INSERT INTO sec.credentials SELECT n, 'login' || n, md5(n::text) FROM generate_series(1, 60) n;
INSERT INTO audit.access_log (what) SELECT 'read' FROM generate_series(1, 2000) n;
ANALYZE;

-- What analysts ask on a day: clear columns in the presence of masked ones. Each shows every cell as it is, unless it is said to be masked.
SELECT country, count(*) AS customers, count(DISTINCT email) AS addresses FROM crm.customers GROUP BY country ORDER BY 2 DESC;
SELECT date_trunc('week', placed_at) AS week, sum(total) AS revenue, avg(total) AS basket FROM crm.orders GROUP BY 1 ORDER BY 1;
SELECT c.city, count(o.id) FROM crm.customers c JOIN crm.orders o ON o.customer_id = c.id WHERE c.deleted_at IS NULL GROUP BY c.city ORDER BY c.city;
SELECT c.id, c.city, o.total, rank() OVER (PARTITION BY c.city ORDER BY o.total DESC NULLS LAST, o.id) FROM crm.customers c JOIN crm.orders o ON o.customer_id = c.id ORDER BY c.city, 4, o.id;
SELECT id, total, sum(total) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM crm.orders ORDER BY id;
SELECT id, total, avg(total) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM crm.orders ORDER BY id;
SELECT state, percentile_cont(0.5) WITHIN GROUP (ORDER BY total) AS median FROM crm.orders GROUP BY state ORDER BY state;
SELECT mode() WITHIN GROUP (ORDER BY category) FROM crm.products;
SELECT category, array_agg(sku ORDER BY sku) FROM crm.products GROUP BY category ORDER BY category;
SELECT p.category, sum(i.quantity * i.price) FROM crm.order_items i JOIN crm.products p ON p.id = i.product_id GROUP BY p.category ORDER BY 1;
WITH first_orders AS (SELECT customer_id, min(placed_at) AS first_at FROM crm.orders GROUP BY customer_id) SELECT date_trunc('month', first_at), count(*) FROM first_orders GROUP BY 1 ORDER BY 1;
WITH repeaters AS (SELECT customer_id FROM crm.orders GROUP BY customer_id HAVING count(*) > 1) SELECT c.country, count(*) FROM repeaters r JOIN crm.customers c ON c.id = r.customer_id GROUP BY c.country ORDER BY 1;
SELECT c.id, c.city FROM crm.customers c WHERE NOT EXISTS (SELECT 1 FROM crm.orders o WHERE o.customer_id = c.id) ORDER BY c.id;
SELECT c.id FROM crm.customers c LEFT JOIN crm.leads l ON lower(l.email) = lower(c.email) WHERE l.id IS NULL ORDER BY c.id;
SELECT l.source, count(*) AS leads, count(c.id) AS won FROM crm.leads l LEFT JOIN crm.customers c ON lower(c.email) = lower(l.email) GROUP BY l.source ORDER BY l.source;
SELECT count(*) FILTER (WHERE newsletter) AS subscribers, count(*) AS everybody FROM crm.customers;
SELECT city, count(*) FILTER (WHERE status = 'active') AS active, round(100.0 * count(*) FILTER (WHERE status = 'active') / count(*), 1) AS percent FROM crm.customers GROUP BY city ORDER BY city;
SELECT CASE WHEN total >= 100 THEN 'large' WHEN total >= 20 THEN 'medium' ELSE 'small' END AS size, count(*) FROM crm.orders GROUP BY 1 ORDER BY 1;
SELECT width_bucket(total, 0, 500, 5) AS bucket, count(*) FROM crm.orders WHERE total IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT extract(isodow FROM placed_at)::int AS day, count(*) FROM crm.orders GROUP BY 1 ORDER BY 1;
SELECT to_char(placed_at, 'YYYY-MM') AS month, string_agg(DISTINCT state::text, ',' ORDER BY state::text) FROM crm.orders GROUP BY 1 ORDER BY 1;
SELECT gs::date AS day, count(o.id) FROM generate_series(DATE '2024-01-01', DATE '2024-01-10', INTERVAL '1 day') gs LEFT JOIN crm.orders o ON o.placed_at::date = gs::date GROUP BY 1 ORDER BY 1;
SELECT id, state, placed_at - lag(placed_at) OVER (PARTITION BY customer_id ORDER BY placed_at, id) AS pause FROM crm.orders ORDER BY id;
SELECT DISTINCT ON (customer_id) customer_id, id, total FROM crm.orders ORDER BY customer_id, placed_at DESC, id;
SELECT city, country FROM crm.customers GROUP BY ROLLUP (country, city) ORDER BY country NULLS LAST, city NULLS LAST;
SELECT country, city, count(*), grouping(country, city) FROM crm.customers GROUP BY GROUPING SETS ((country), (city), ()) ORDER BY 1, 2;
SELECT kind, payload ->> 'page' AS page, count(*) FROM crm.events GROUP BY 1, 2 ORDER BY 1, 2;
SELECT id, payload -> 'duration' AS duration FROM crm.events ORDER BY id;
SELECT kind, avg((payload ->> 'duration')::numeric) FROM crm.events GROUP BY kind ORDER BY kind;
SELECT id, kind FROM crm.events WHERE payload @> '{"page": "/"}' ORDER BY id;
SELECT id, kind FROM crm.events WHERE payload ? 'page' ORDER BY id;
SELECT preferences ->> 'theme' AS theme, count(*) FROM crm.customers GROUP BY 1 ORDER BY 1;
SELECT id, attributes FROM crm.products ORDER BY id;
SELECT id, jsonb_typeof(attributes) FROM crm.products ORDER BY id;
SELECT jsonb_build_object('city', city, 'customers', count(*)) FROM crm.customers GROUP BY city ORDER BY city;
SELECT json_agg(json_build_object('id', id, 'total', total) ORDER BY id) FROM crm.orders WHERE total > 50;
SELECT unnest(tags) AS tag, count(*) FROM crm.products GROUP BY 1 ORDER BY 1;
SELECT id, array_length(tags, 1) FROM crm.products ORDER BY id;
SELECT id, title FROM crm.products WHERE 'new' = ANY (tags) ORDER BY id;
-- masked
SELECT c.id, c.first_name, c.city, (SELECT count(*) FROM crm.orders o WHERE o.customer_id = c.id) AS orders FROM crm.customers c ORDER BY c.id;
-- masked
SELECT c.id, c.email, coalesce(s.spent, 0) AS spent FROM crm.customers c LEFT JOIN LATERAL (SELECT sum(total) AS spent FROM crm.orders o WHERE o.customer_id = c.id) s ON true ORDER BY c.id;
-- masked
SELECT c.id, c.last_name, o.id AS last_order FROM crm.customers c LEFT JOIN LATERAL (SELECT id FROM crm.orders o WHERE o.customer_id = c.id ORDER BY placed_at DESC, id LIMIT 1) o ON true ORDER BY c.id;
-- masked
SELECT id, email, created_at FROM crm.customers ORDER BY created_at DESC, id LIMIT 3;
SELECT id, city FROM crm.customers ORDER BY last_name, first_name, id LIMIT 5 OFFSET 1;
SELECT id, city FROM crm.customers WHERE last_name ILIKE '%ow%' ORDER BY id;
SELECT id, city FROM crm.customers WHERE email = 'nobody@example.org' OR phone IS NULL ORDER BY id;
SELECT id FROM crm.customers WHERE birth_date BETWEEN '1980-01-01' AND '1989-12-31' ORDER BY id;
SELECT id FROM crm.customers WHERE extract(month FROM birth_date) = 5 ORDER BY id;
SELECT count(*) FROM crm.customers WHERE age(birth_date) > INTERVAL '40 years';
SELECT id, birth_date IS NOT NULL AS has_birthday, phone IS NULL AS no_phone FROM crm.customers ORDER BY id;
SELECT count(phone), count(birth_date), count(*) FROM crm.customers;
SELECT email, count(*) FROM crm.customers GROUP BY email HAVING count(*) > 1;
SELECT lower(email) AS email, array_agg(id ORDER BY id) AS ids FROM crm.customers GROUP BY 1 HAVING count(*) > 1;
SELECT department, count(*), min(hired_on), max(hired_on) FROM crm.employees GROUP BY department ORDER BY department;
SELECT e.id, e.department, m.id AS manager, m.department AS of_manager FROM crm.employees e LEFT JOIN crm.employees m ON m.id = e.manager_id ORDER BY e.id;
SELECT department, rank() OVER (ORDER BY count(*) DESC, department) FROM crm.employees GROUP BY department ORDER BY 2;
WITH RECURSIVE line AS (SELECT id, manager_id, 0 AS level FROM crm.employees WHERE manager_id IS NULL UNION ALL SELECT e.id, e.manager_id, l.level + 1 FROM crm.employees e JOIN line l ON l.id = e.manager_id WHERE l.level < 10) SELECT level, count(*) FROM line GROUP BY level ORDER BY level;
WITH RECURSIVE days AS (SELECT DATE '2024-01-01' AS day UNION ALL SELECT day + 1 FROM days WHERE day < DATE '2024-01-05') SELECT day FROM days ORDER BY day;
SELECT t.state, t.priority, count(*) FROM crm.tickets t JOIN crm.customers c ON c.id = t.customer_id WHERE c.country = 'DE' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT t.id, t.state, e.department, c.city FROM crm.tickets t LEFT JOIN crm.employees e ON e.id = t.assignee_id LEFT JOIN crm.customers c ON c.id = t.customer_id ORDER BY t.id;
SELECT avg(closed_at - opened_at) FROM crm.tickets WHERE closed_at IS NOT NULL;
SELECT provider, count(*), sum(amount) FROM crm.payments GROUP BY provider ORDER BY provider;
SELECT p.id, p.amount, o.state, o.currency FROM crm.payments p JOIN crm.orders o ON o.id = p.order_id ORDER BY p.id;
SELECT o.id, o.total - coalesce(sum(p.amount), 0) AS due FROM crm.orders o LEFT JOIN crm.payments p ON p.order_id = o.id GROUP BY o.id ORDER BY o.id;
SELECT count(DISTINCT card_number) AS cards, count(DISTINCT iban) AS accounts FROM crm.payments;
SELECT customer_id, count(*), max(started_at) - min(started_at) AS span FROM crm.sessions GROUP BY customer_id ORDER BY customer_id;
SELECT count(DISTINCT ip_address) FROM crm.sessions;
SELECT date_trunc('hour', started_at) AS hour, count(*) FROM crm.sessions GROUP BY 1 ORDER BY 1;
SELECT user_agent IS NULL AS unknown, count(*) FROM crm.sessions GROUP BY 1 ORDER BY 1;
SELECT city FROM crm.customers UNION SELECT source FROM crm.leads ORDER BY 1;
SELECT id FROM crm.customers INTERSECT SELECT customer_id FROM crm.orders ORDER BY 1;
SELECT id FROM crm.customers EXCEPT SELECT customer_id FROM crm.orders ORDER BY 1;
SELECT 'customers' AS what, count(*) FROM crm.customers UNION ALL SELECT 'leads', count(*) FROM crm.leads UNION ALL SELECT 'orders', count(*) FROM crm.orders;
-- masked
SELECT email FROM crm.customers UNION ALL SELECT email FROM crm.leads;
-- masked
SELECT email FROM crm.customers UNION SELECT email FROM crm.leads;
SELECT c.id FROM crm.customers c WHERE c.email IN (SELECT l.email FROM crm.leads l WHERE l.score > 10) ORDER BY 1;
SELECT o.id, o.total > (SELECT avg(total) FROM crm.orders) AS above FROM crm.orders o ORDER BY o.id;
SELECT id, total FROM crm.orders ORDER BY total DESC NULLS LAST, id LIMIT (SELECT count(*) / 2 FROM crm.orders);
SELECT id, ntile(4) OVER (ORDER BY total, id) AS quartile, cume_dist() OVER (ORDER BY total, id) FROM crm.orders ORDER BY id;
SELECT id, first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 2) OVER w FROM crm.orders WINDOW w AS (PARTITION BY customer_id ORDER BY placed_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) ORDER BY id;
SELECT corr(total, id), regr_slope(total, id), stddev(total) FROM crm.orders;
SELECT month, revenue, revenue - lag(revenue) OVER (ORDER BY month) AS change FROM crm.revenue_by_month ORDER BY month;
-- masked
SELECT id, name, orders, revenue FROM crm.customer_overview ORDER BY revenue DESC, id;
SELECT city, avg(orders) FROM crm.customer_overview GROUP BY city ORDER BY city;
SELECT state, count(*) FROM crm.open_tickets GROUP BY state;
-- masked
SELECT id, subject, priority, customer_email FROM crm.open_tickets ORDER BY id;
-- masked
SELECT crm.orders_of(id) AS orders, count(*) FROM crm.customers GROUP BY 1 ORDER BY 1;
SELECT p.product_id, p.sold, r.sku FROM crm.top_products(3) p JOIN crm.products r ON r.id = p.product_id ORDER BY p.sold DESC, 1;
SELECT id, title, position('a' in title), upper(left(title, 3)), length(title) FROM crm.products ORDER BY id;
SELECT id, regexp_replace(sku, '[^0-9]', '', 'g') AS number, split_part(sku, '-', 1) AS series FROM crm.products ORDER BY id;
SELECT id, title || ' (' || category || ')' AS label, format('%s: %s', sku, price) FROM crm.products ORDER BY id;
SELECT title, ts_rank(to_tsvector('english', title), plainto_tsquery('english', 'lamp')) FROM crm.products ORDER BY 2 DESC, 1;
SELECT coalesce(status, 'none'), nullif(city, ''), greatest(created_at, updated_at) FROM crm.customers ORDER BY id;
SELECT queue, state, count(*), min(run_at) FROM crm.jobs GROUP BY queue, state ORDER BY 1, 2;
SELECT day, customers, orders, round(revenue / nullif(orders, 0), 2) AS basket FROM crm.daily_stats ORDER BY day;
SELECT role, count(*), count("emailAddress") FROM crm."User" GROUP BY role ORDER BY role;
SELECT x.n, c.city FROM (VALUES (1, 'first'), (2, 'second')) AS x(id, n) JOIN crm.customers c ON c.id = x.id ORDER BY x.n;
SELECT c.country, x.rate FROM crm.customers c JOIN (VALUES ('DE', 0.19), ('FR', 0.20)) AS x(country, rate) ON x.country = c.country ORDER BY c.id;
SELECT o.state, s.word FROM crm.orders o CROSS JOIN LATERAL (SELECT CASE o.state WHEN 'new' THEN 'open' ELSE 'done' END AS word) s ORDER BY o.id;
SELECT c.id, c.city, row_number() OVER (ORDER BY c.created_at, c.id) AS n FROM crm.customers c WHERE c.notes IS NULL OR c.notes NOT ILIKE '%test%' ORDER BY c.id;
EXPLAIN (COSTS OFF) SELECT c.city, count(*) FROM crm.customers c JOIN crm.orders o ON o.customer_id = c.id GROUP BY c.city;
SELECT pg_size_pretty(pg_relation_size('crm.orders')) IS NOT NULL, (SELECT count(*) FROM information_schema.columns WHERE table_schema = 'crm' AND table_name = 'customers');
COPY (SELECT city, count(*) FROM crm.customers GROUP BY city ORDER BY city) TO STDOUT (FORMAT csv, HEADER);
-- masked
COPY (SELECT id, city, email FROM crm.customers ORDER BY id) TO STDOUT;

-- Production of the to-do app: the schema of the last release (Alembic revision 0002) and 120,000 tasks. Applied with psql;
-- where production has tasks already, nothing happens. The same rows each time, down to the second.
--
-- Among them, as in any production: titles that occur many times, and tasks without description, due date or assignee.
\set ON_ERROR_STOP on
\encoding UTF8
\set QUIET on
SELECT to_regclass('tasks') IS NULL AS is_new \gset
\if :is_new
  \ir schema.sql
\endif

SELECT NOT EXISTS (SELECT FROM tasks) AS is_empty \gset
\if :is_empty
INSERT INTO tasks (title, done, created_at, description, due_on, assignee)
SELECT
  CASE
    WHEN n % 40 = 0 THEN everyday[1 + h1 % 8]
    ELSE format('%s %s %s', verbs[1 + h1 % 14], things[1 + h2 % 18], places[1 + h3 % 12])
      || CASE WHEN n % 3 = 0 THEN format(' (ticket %s)', 1000 + n) ELSE '' END
  END,
  h2 % 100 < 62,
  timestamptz '2023-01-02 07:00:00+00' + n * interval '13 minutes' + h3 % 600 * interval '1 second',
  CASE WHEN h3 % 4 > 0 THEN format('%s %s.', notes[1 + h1 / 16 % 9], reasons[1 + h2 / 32 % 7]) END,
  CASE WHEN h1 % 5 > 1 THEN date '2023-01-05' + n * 13 / 1440 + h2 % 45 END,
  CASE WHEN h3 % 7 > 0 THEN people[1 + h3 % 12] END
FROM
  generate_series(1, 120000) AS n,
  -- Three numbers that look random and are not.
  LATERAL (SELECT
    ('x' || substr(md5(n::text), 1, 7))::bit(28)::int AS h1,
    ('x' || substr(md5(n::text), 8, 7))::bit(28)::int AS h2,
    ('x' || substr(md5(n::text), 15, 7))::bit(28)::int AS h3) AS hash,
  (SELECT
    ARRAY['Water the plants', 'Weekly review', 'Back up the laptop', 'Stand-up notes', 'Order coffee',
      'Empty the inbox', 'Send the invoice', 'Book the room'] AS everyday,
    ARRAY['Review', 'Write', 'Fix', 'Translate', 'Renew', 'Measure', 'Clean up', 'Plan', 'Test', 'Call about', 'Document',
      'Order', 'Archive', 'Ship'] AS verbs,
    ARRAY['the release notes', 'the login page', 'the certificate', 'the budget', 'the nightly backup', 'the delivery',
      'the price list', 'the onboarding guide', 'the search results', 'the contract', 'the survey', 'the warehouse labels',
      'the error messages', 'the travel expenses', 'the newsletter', 'the database index', 'the meeting room',
      'the customer’s question'] AS things,
    ARRAY['for Zürich', 'for Lisbon', 'for São Paulo', 'for Oslo', 'for Nairobi', 'for Osaka', 'with the new supplier',
      'before the audit', 'after the move', 'in the web shop', 'in the mobile app', 'for the annual report'] AS places,
    ARRAY['Ask support first', 'Two hours at most', 'Blocked until the budget is approved', 'See last year’s file',
      'Needs a second pair of eyes', 'The draft is on the shared drive', 'Start with the oldest one',
      'Keep the old version', 'Tell the team when done'] AS notes,
    ARRAY['because a customer asked twice', 'since the audit found it', 'as agreed on Monday', 'so that the release can go out',
      'or it will come back', 'while the office is quiet', 'to save the monthly fee'] AS reasons,
    ARRAY['Ada', 'Bruno', 'Chiara', 'Deniz', 'Emeka', 'Fatima', 'Goro', 'Hanna', 'Ines', 'Jörg', 'Kim', 'Lea'] AS people
  ) AS words
ORDER BY n;
ANALYZE tasks;
\endif
\unset QUIET
SELECT count(*) AS tasks, (SELECT version_num FROM alembic_version) AS revision FROM tasks;

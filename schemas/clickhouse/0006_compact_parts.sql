-- A part smaller than this, before compression, is one file and not one for each column: an insert of a batch then writes and syncs a
-- few files instead of two hundred. Merges make larger parts, with a file for each column, as before.
ALTER TABLE {database}.query_events MODIFY SETTING min_bytes_for_wide_part = 67108864;

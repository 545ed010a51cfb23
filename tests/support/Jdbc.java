// What an application on pgjdbc does: batches, rewritten batches, server-side prepared statements, cursors, autosave.
// Usage: java -cp <jars> Jdbc.java URL USER PASSWORD BAD   where BAD is a statement that fails, for whatever reason.
// Prints one line for each thing tried, so that runs with different failures can be compared.

import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Properties;

public class Jdbc {
    static String url, user, password, bad;

    public static void main(String[] args) throws Exception {
        url = args[0];
        user = args[1];
        password = args[2];
        bad = args[3];
        for (String mode : new String[] {"extended", "simple"}) {
            try (Connection c = connect("preferQueryMode", mode)) {
                batches(mode, c);
                failures(mode, c);
                cursors(mode, c);
            }
        }
        try (Connection c = connect("reWriteBatchedInserts", "true")) {
            batches("rewritten", c);
            failures("rewritten", c);
        }
        try (Connection c = connect("prepareThreshold", "1")) {
            prepared(c);
        }
        for (String save : new String[] {"always", "conservative", "never"}) {
            try (Connection c = connect("autosave", save)) {
                autosave(save, c);
            }
        }
        say("done", "");
    }

    static Connection connect(String name, String value) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", user);
        properties.setProperty("password", password);
        properties.setProperty("ApplicationName", "jdbc");
        properties.setProperty(name, value);
        return DriverManager.getConnection(url, properties);
    }

    static void say(String what, Object found) {
        System.out.println(what + ": " + found);
    }

    static long count(Connection c) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT count(*) FROM jdbc_kept")) {
            r.next();
            return r.getLong(1);
        }
    }

    static void empty(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.executeUpdate("DELETE FROM jdbc_kept WHERE a >= 0");
        }
        if (!c.getAutoCommit()) {
            c.commit();
        }
    }

    static void batches(String mode, Connection c) throws SQLException {
        empty(c);
        try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_kept VALUES (?, ?)")) {
            for (int round = 0; round < 3; round++) {
                for (int n = 0; n < 300; n++) {
                    s.setInt(1, n);
                    s.setString(2, "x" + n);
                    s.addBatch();
                }
                int[] counts = s.executeBatch();
                say(mode + " batch", counts.length + " " + Arrays.stream(counts).distinct().count());
            }
        }
        say(mode + " rows", count(c));
    }

    // The bad statement in the middle of a batch, with and without a transaction around it.
    static void failures(String mode, Connection c) throws SQLException {
        for (boolean automatic : new boolean[] {true, false}) {
            empty(c);
            c.setAutoCommit(automatic);
            try (Statement s = c.createStatement()) {
                s.addBatch("INSERT INTO jdbc_kept VALUES (1, 'a')");
                s.addBatch(bad);
                s.addBatch("INSERT INTO jdbc_kept VALUES (2, 'b')");
                s.executeBatch();
                say(mode + " failing batch", "no error");
            } catch (BatchUpdateException e) {
                say(mode + " failing batch", Arrays.toString(e.getUpdateCounts()) + state(e));
            }
            if (!automatic) {
                try (Statement s = c.createStatement()) {
                    s.executeQuery("SELECT 1");
                    say(mode + " after it", "goes on");
                } catch (SQLException e) {
                    say(mode + " after it", e.getSQLState());
                }
                c.rollback();
            }
            say(mode + " rows after it, automatic " + automatic, count(c));
            c.setAutoCommit(true);
        }
        empty(c);
        try (PreparedStatement s = c.prepareStatement(bad)) {
            s.executeBatch();
            for (int n = 0; n < 3; n++) {
                s.addBatch();
            }
            s.executeBatch();
            say(mode + " batch of it", "no error");
        } catch (BatchUpdateException e) {
            say(mode + " batch of it", Arrays.toString(e.getUpdateCounts()) + state(e));
        }
        say(mode + " is valid", c.isValid(5));
    }

    // The state of an error that was expected to be the bad statement's is the only thing that may differ.
    static String state(SQLException e) {
        return " [" + e.getSQLState() + "] " + (e.getNextException() == null ? "" : "[" + e.getNextException().getSQLState() + "]");
    }

    static void cursors(String mode, Connection c) throws SQLException {
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("SELECT n FROM generate_series(1, ?) AS n")) {
            s.setInt(1, 105);
            s.setFetchSize(10);
            int rows = 0;
            try (ResultSet r = s.executeQuery()) {
                while (r.next()) {
                    rows++;
                }
            }
            say(mode + " fetched", rows);
        }
        c.commit();
        c.setAutoCommit(true);
    }

    static void prepared(Connection c) throws SQLException {
        long sum = 0;
        try (PreparedStatement s = c.prepareStatement("SELECT ?::int + 1")) {
            for (int n = 0; n < 8; n++) {
                s.setInt(1, n);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    sum += r.getInt(1);
                }
            }
        }
        say("prepared", sum);
        for (int n = 0; n < 3; n++) {
            try (PreparedStatement s = c.prepareStatement(bad)) {
                s.execute();
                say("prepared and failing", "no error");
            } catch (SQLException e) {
                say("prepared and failing", state(e));
            }
        }
        say("prepared is valid", c.isValid(5));
    }

    // With autosave the driver sets a savepoint before each statement, and goes back to it after an error.
    static void autosave(String save, Connection c) throws SQLException {
        empty(c);
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.executeUpdate("INSERT INTO jdbc_kept VALUES (1, 'a')");
            try {
                s.execute(bad);
                say(save + " failing", "no error");
            } catch (SQLException e) {
                say(save + " failing", state(e));
            }
            try {
                s.executeUpdate("INSERT INTO jdbc_kept VALUES (2, 'b')");
                c.commit();
            } catch (SQLException e) {
                say(save + " after it", e.getSQLState());
                c.rollback();
            }
        }
        say(save + " rows", count(c));
        c.rollback();
    }
}

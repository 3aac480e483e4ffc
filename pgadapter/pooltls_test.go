//go:build unix

package pgadapter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	bigint "math/big"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// A server that accepts TLS only, and a pool that trusts its certificate and no other.
func TestNew_TLSRequired(t *testing.T) {
	t.Parallel()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	b := newBench(t, pgtest.On(srv.DSN()))
	roots := requireTLS(t, b, filepath.Join(srv.Dir(), "data"))
	b.withPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	})
	dbs, recorders := b.nodes(t, 2, nil)
	checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
	n := b.int(t, "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'pgsocket' and not ssl")
	if n != 0 {
		t.Errorf("%d connections without TLS", n)
	}
}

// requireTLS gives a server a certificate for localhost, and makes it refuse connections without TLS. The connection of the
// bench stays.
func requireTLS(t *testing.T, b *bench, data string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: bigint.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for name, text := range map[string][]byte{
		"server.crt": certPEM, "server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"pg_hba.conf": []byte("hostssl all all 127.0.0.1/32 scram-sha-256\n"),
	} {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(data)
		if err != nil {
			t.Fatal(err)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { // the schema is dropped without TLS
		if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("host all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
			t.Error(err)
		}
		execOn(t, b.conn, "select pg_reload_conf()")
		eventually(t, "the server accepts connections without TLS", func() bool { return plain(t, b) })
	})
	execOn(t, b.conn, "alter system set ssl = on", "select pg_reload_conf()")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	eventually(t, "the server requires TLS", func() bool {
		return !plain(t, b) && b.int(t, "select count(*) from pg_settings where name = 'ssl' and setting = 'on'") == 1
	})
	return roots
}

// plain reports whether the server accepts a connection without TLS.
func plain(t *testing.T, b *bench) bool {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), b.dsn)
	if err == nil {
		_ = conn.Close(context.Background())
	}
	return err == nil
}

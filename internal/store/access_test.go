package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/lab"
	"github.com/confsyncd/confsyncd/internal/store"
)

// TestAccess takes each way in away, under a client that has a connection, and gives it
// back.
func TestAccess(t *testing.T) {
	endpoint := devetcdtest.Start(t)
	admin, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx := t.Context()
	did := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	did(admin.UserAdd(ctx, "root", "secret"))
	did(admin.UserGrantRole(ctx, "root", "root"))
	did(admin.UserAdd(ctx, "agent", "first"))
	did(admin.RoleAdd(ctx, "reader"))
	did(admin.RoleGrantPermission(ctx, "reader", "/confsyncd/prod/pub/", clientv3.GetPrefixRangeEnd("/confsyncd/prod/pub/"), clientv3.PermissionType(clientv3.PermRead)))
	did(admin.UserGrantRole(ctx, "agent", "reader"))

	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()}
	nobody := store.NewClient(config)
	defer nobody.Close()
	config.Username, config.PasswordFile = "agent", password
	agent := store.NewClient(config)
	defer agent.Close()
	view := func(c *store.Client) error {
		_, err := c.Tenant("prod").View(ctx)
		return err
	}
	says := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q", err, words)
		}
	}
	did(nil, view(nobody))
	did(nil, view(agent))

	did(admin.AuthEnable(ctx))
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Username: "root", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	says(view(nobody), "set username and password_file")
	did(nil, view(agent))

	did(root.UserRevokeRole(ctx, "agent", "reader"))
	says(view(agent), `grant user "agent" a role that may read /confsyncd/prod/pub/`)
	did(root.UserGrantRole(ctx, "agent", "reader"))
	did(nil, view(agent))

	did(root.UserChangePassword(ctx, "agent", "second"))
	says(view(agent), "correct username, or the password in "+password)
	did(nil, lab.Place(password, []byte("second\n")))
	says(view(agent), "correct username") // It finds that the file has changed.
	did(nil, view(agent))
}

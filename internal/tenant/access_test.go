//go:build !lean

package tenant_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/tenant"
)

// guarded is an etcd with the roles that README.md has, for the tenants a and ab; each role
// has a user of its name, whose password is the name too.
type guarded struct {
	*testing.T
	endpoint string
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{T: t, endpoint: devetcdtest.Start(t)}
	admin, err := clientv3.New(clientv3.Config{Endpoints: []string{g.endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	did := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	did(admin.UserAdd(t.Context(), "root", "root"))
	did(admin.UserGrantRole(t.Context(), "root", "root"))
	readme, err := os.ReadFile("../../README.md")
	did(nil, err)
	grants := regexp.MustCompile(`etcdctl role grant-permission (\S+) (read|readwrite)( --prefix=true)? (\S+)\n`).FindAllStringSubmatch(string(readme), -1)
	if len(grants) < 6 {
		t.Fatalf("README.md grants only %q", grants)
	}
	for _, name := range []string{"a", "ab"} {
		known := make(map[string]bool)
		for _, grant := range grants {
			role := strings.ReplaceAll(grant[1], "-prod", "-"+name)
			if !known[role] && (role != "operate" || name == "a") {
				did(admin.RoleAdd(t.Context(), role))
				did(admin.UserAdd(t.Context(), role, role))
				did(admin.UserGrantRole(t.Context(), role, role))
			}
			known[role] = true
			key, end, may := strings.ReplaceAll(grant[4], "prod", name), "", clientv3.PermRead
			if grant[2] == "readwrite" {
				may = clientv3.PermReadWrite
			}
			if grant[3] != "" {
				end = clientv3.GetPrefixRangeEnd(key)
			}
			did(admin.RoleGrantPermission(t.Context(), role, key, end, clientv3.PermissionType(may)))
		}
	}
	did(admin.AuthEnable(t.Context()))
	return g
}

// store returns a client of the program's for a user.
func (g *guarded) store(user string) *store.Client {
	password := filepath.Join(g.TempDir(), "password")
	if err := os.WriteFile(password, []byte(user), 0o600); err != nil {
		g.Fatal(err)
	}
	c := store.NewClient(store.Config{Endpoints: []string{g.endpoint}, Prefix: "/confsyncd", Username: user, PasswordFile: password, Log: hclog.NewNullLogger()})
	g.Cleanup(func() { c.Close() })
	return c
}

func (g *guarded) push(user, name string) error {
	dir := g.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat(user+name, 20000)), 0o644); err != nil {
		g.Fatal(err)
	}
	p, err := publisher.New(publisher.Options{
		Prefix: "/confsyncd", Tenant: name, Dir: dir, Name: "p", MaxFileSize: 1 << 20, MaxDelete: 1, StateDir: g.TempDir(),
		Store: g.store(user).Tenant(name), Log: hclog.NewNullLogger(),
	})
	if err != nil {
		g.Fatal(err)
	}
	_, err = p.Push(g.Context(), publisher.PushOptions{})
	return err
}

func (g *guarded) pull(user, name, dir string) error {
	_, err := agent.Pull(g.Context(), agent.Options{
		Prefix: "/confsyncd", Tenant: name, Dir: dir, UID: -1, GID: -1, StateDir: g.TempDir(), Store: g.store(user).Tenant(name), Log: hclog.NewNullLogger(),
	})
	return err
}

// TestRolesKeepTenantsApart gives each user what README.md says, and tries what is theirs and
// what is not.
func TestRolesKeepTenantsApart(t *testing.T) {
	g := newGuarded(t)
	operator := g.store("operate")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"a", "ab"} {
		_, err := tenant.Create(t.Context(), operator, name, tenant.Settings{})
		must("create", err)
		must("push", g.push("publish-"+name, name))
		must("pull", g.pull("agent-"+name, name, filepath.Join(t.TempDir(), "dst")))
	}
	for user, theirs := range map[string]string{"publish-a": "a", "agent-a": "a", "publish-ab": "ab", "agent-ab": "ab"} {
		other := map[string]string{"a": "ab", "ab": "a"}[theirs]
		if err := g.push(user, other); !errors.Is(err, store.ErrRefused) {
			t.Errorf("%s pushes to %s: %v", user, other, err)
		}
		if err := g.pull(user, other, filepath.Join(t.TempDir(), "dst")); !errors.Is(err, store.ErrRefused) {
			t.Errorf("%s pulls %s: %v", user, other, err)
		}
		g.denied(user, theirs, other)
	}
	if err := g.push("agent-a", "a"); !errors.Is(err, store.ErrRefused) {
		t.Errorf("an agent pushes: %v", err)
	}
	if _, err := tenant.List(t.Context(), g.store("publish-a"), tenant.Selector{}, config.TenantName); !errors.Is(err, store.ErrRefused) {
		t.Errorf("a publisher lists all tenants: %v", err)
	}
	if _, _, err := tenant.Delete(t.Context(), g.store("publish-a"), "a", tenant.Deletion{}); !errors.Is(err, store.ErrRefused) {
		t.Errorf("a publisher deletes its tenant: %v", err)
	}

	// An agent may read why its files stay.
	dst := filepath.Join(t.TempDir(), "dst")
	must("pull", g.pull("agent-a", "a", dst))
	_, _, err := tenant.Delete(t.Context(), operator, "a", tenant.Deletion{Who: "operator"})
	must("delete", err)
	if err := g.pull("agent-a", "a", dst); !errors.Is(err, agent.ErrRefused) || !strings.Contains(err.Error(), "by operator") {
		t.Errorf("pull of the deleted tenant: %v", err)
	}
	if err := g.push("publish-a", "a"); !errors.Is(err, publisher.ErrRefused) || !strings.Contains(err.Error(), "by operator") {
		t.Errorf("push to the deleted tenant: %v", err)
	}
	must("push to the other", g.push("publish-ab", "ab"))
}

// denied asks etcd itself for what is not a user's.
func (g *guarded) denied(user, theirs, other string) {
	g.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{g.endpoint}, Username: user, Password: user, Logger: logging.Zap(hclog.NewNullLogger())})
	if err != nil {
		g.Fatal(err)
	}
	defer c.Close()
	ctx, base := g.Context(), "/confsyncd/"+other
	ops := map[string]clientv3.Op{
		"read all":                   clientv3.OpGet("\x00", clientv3.WithFromKey()),
		"read the prefix":            clientv3.OpGet("/confsyncd/", clientv3.WithPrefix()),
		"read names that begin so":   clientv3.OpGet("/confsyncd/"+theirs, clientv3.WithPrefix()),
		"read another's head":        clientv3.OpGet(base + "/pub/head"),
		"read all of another":        clientv3.OpGet(base+"/", clientv3.WithPrefix()),
		"read another's packs":       clientv3.OpGet(base+"/pub/packs/", clientv3.WithPrefix()),
		"count another's":            clientv3.OpGet(base+"/", clientv3.WithPrefix(), clientv3.WithCountOnly()),
		"read another registration":  clientv3.OpGet("/confsyncd/@tenants/" + other),
		"read all registrations":     clientv3.OpGet("/confsyncd/@tenants/", clientv3.WithPrefix()),
		"write another's head":       clientv3.OpPut(base+"/pub/head", "x"),
		"write another's host":       clientv3.OpPut(base+"/hosts/h", "x"),
		"delete another's":           clientv3.OpDelete(base+"/", clientv3.WithPrefix()),
		"write its own registration": clientv3.OpPut("/confsyncd/@tenants/"+theirs, "{}"),
	}
	if strings.HasPrefix(user, "agent") {
		ops["write its head"] = clientv3.OpPut("/confsyncd/"+theirs+"/pub/head", "x")
		ops["read the election"] = clientv3.OpGet("/confsyncd/"+theirs+"/ctl/", clientv3.WithPrefix())
	}
	for what, op := range ops {
		if _, err := c.Do(ctx, op); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			g.Errorf("%s may %s: %v", user, what, err)
		}
	}
	if _, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value(base+"/pub/head"), ">", "")).Commit(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		g.Errorf("%s may compare another's head: %v", user, err)
	}
}

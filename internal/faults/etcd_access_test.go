//go:build faults

package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// tokenTTL is how long etcd's tokens are good for where they are to expire.
const tokenTTL = time.Second

// etcdAccessCases change who may do what in etcd.
func etcdAccessCases() []Case {
	return []Case{
		{
			Name:  "auth switched on in a running system",
			How:   "users and roles made and auth enabled under daemons that have no user; then each is given one in its configuration file, and told by HUP (publisher) or started again (agent)",
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.Configure(w.Source, "")
				w.Configure(w.Target, "")
				w.Start()
				w.guard()
				w.Replace(3)
				reset(w.TargetProxies)
				w.Says(w.Source, "user name is empty", "set username and password_file")
				w.Says(w.Target, "user name is empty", "set username and password_file")
				w.Shows(w.Source, "waiting", "set username and password_file")
				w.Shows(w.Target, "waiting", "set username and password_file")
				w.enter(w.Source, "publisher", "publisher's")
				w.enter(w.Target, "agent", "agent's")
				w.Reload(w.Source)
				w.do(w.Target.Stop())
				w.Agent()
				w.Healed()
				w.Count("faults", 1)
			},
		},
		{
			Name:  "auth switched off and on again",
			How:   "auth disabled under daemons that have users, and enabled again",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.guarded()
				for range 2 {
					w.do(w.root(func(c *clientv3.Client) error { _, err := c.AuthDisable(w.Context()); return err }))
					w.commit(2)
					w.do(w.root(func(c *clientv3.Client) error { _, err := c.AuthEnable(w.Context()); return err }))
					w.commit(2)
					w.Count("faults", 1)
				}
				w.Healed()
			},
		},
		{
			Name:  "simple tokens expired",
			How:   "--auth-token-ttl of a second, and pauses of three between edits; then the server is killed and started again, which forgets all tokens",
			Modes: []string{"files"},
			Setup: Setup{Empty: true, Etcd: []string{"--auth-token", "simple", "--auth-token-ttl", fmt.Sprint(int(tokenTTL / time.Second))}},
			Try:   func(w *World) { w.tokensExpire() },
		},
		{
			Name:  "signed tokens expired",
			How:   "--auth-token jwt with a time to live of a second, and pauses of three between edits; the server killed and started again",
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.do(w.Cluster.Kill())
				w.Cluster.Options.Flags = append(w.Cluster.Options.Flags, "--auth-token", w.signing())
				w.do(w.Cluster.Start())
				w.tokensExpire()
			},
		},
		{
			Name:  "permission taken from the publisher, and given back",
			How:   "its role revoked while files are edited, and granted again",
			Setup: Setup{Empty: true},
			Modes: []string{"files"},
			Try: func(w *World) {
				w.guarded()
				for range 2 {
					w.revoke("publisher")
					w.Replace(3)
					w.Edit(5)
					w.Says(w.Source, "publishing", "permission denied", "read and write /confsyncd/prod/")
					w.Shows(w.Source, "waiting", "permission denied", "read and write /confsyncd/prod/")
					w.grant("publisher")
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		{
			Name:  "permission taken from the agent, and given back",
			How:   "its role revoked, connections reset, files edited, the role granted again",
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.guarded()
				for range 2 {
					w.revoke("agent")
					reset(w.TargetProxies)
					w.Says(w.Target, "following etcd", "permission denied", "read /confsyncd/prod/pub/")
					w.Shows(w.Target, "waiting", "permission denied", "read /confsyncd/prod/pub/")
					w.kept(func() { w.Replace(3) })
					w.grant("agent")
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		{
			Name:  "permission taken from an agent whose watch goes on",
			How:   "its role revoked while nothing else happens: etcd lets the watch go on, so that the agent learns of it from its read of the head every 2 minutes; then the role is granted again",
			Slow:  true,
			Modes: []string{"files"},
			Setup: Setup{Empty: true},
			Try: func(w *World) {
				w.guarded()
				w.revoke("agent")
				w.commit(2) // What travels in records arrives by the watch.
				if _, err := lab.FindLine(w.Target.Log, 160*time.Second, "following etcd", "permission denied", "read /confsyncd/prod/pub/"); err != nil {
					w.wrong("f", "%v", err)
				}
				w.kept(func() { w.Replace(3) })
				w.grant("agent")
				w.Healed()
				w.Count("faults", 1)
			},
		},
		{
			Name:  "passwords changed",
			How:   "the passwords of both users changed in etcd, files edited, connections reset; then the files that password_file names are replaced, and nobody tells the daemons",
			Setup: Setup{Empty: true},
			Modes: []string{"files"},
			Try: func(w *World) {
				w.guarded()
				for i := range 2 {
					for _, user := range []string{"publisher", "agent"} {
						w.do(w.root(func(c *clientv3.Client) error {
							_, err := c.UserChangePassword(w.Context(), user, fmt.Sprint(user, i))
							return err
						}))
					}
					reset(w.SourceProxies)
					reset(w.TargetProxies)
					w.Replace(3)
					for _, h := range []*lab.Host{w.Source, w.Target} {
						w.Says(h, "authentication failed", "correct username, or the password in "+filepath.Dir(h.Config))
						w.Shows(h, "waiting", "authentication failed", "password")
					}
					w.enter(w.Source, "publisher", fmt.Sprint("publisher", i))
					w.enter(w.Target, "agent", fmt.Sprint("agent", i))
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		{
			Name:  "users deleted and made anew",
			How:   "both users deleted in etcd while files are edited, and made again with the same passwords and roles",
			Setup: Setup{Empty: true},
			Modes: []string{"files"},
			Try: func(w *World) {
				w.guarded()
				for _, user := range []string{"publisher", "agent"} {
					w.do(w.root(func(c *clientv3.Client) error { _, err := c.UserDelete(w.Context(), user); return err }))
				}
				reset(w.TargetProxies)
				w.Replace(3)
				for _, h := range []*lab.Host{w.Source, w.Target} {
					w.Says(h, "correct username")
				}
				for _, user := range []string{"publisher", "agent"} {
					w.do(w.root(func(c *clientv3.Client) error { _, err := c.UserAdd(w.Context(), user, user+"'s"); return err }))
					w.grant(user)
				}
				w.Healed()
				w.Count("faults", 1)
			},
		},
	}
}

func reset(ways []*lab.Proxy) {
	for _, p := range ways {
		p.Reset()
	}
}

// root does something in etcd as its root.
func (w *World) root(do func(*clientv3.Client) error) error {
	c, err := w.Cluster.Members[0].Dial("root", "root's")
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// guard makes users, with roles that are just enough, and enables auth.
func (w *World) guard() {
	w.Helper()
	c := w.Cluster.Client(w.T)
	ctx := w.Context()
	did := func(_ any, err error) {
		w.Helper()
		w.do(err)
	}
	below := "/confsyncd/" + tenant + "/"
	for role, p := range map[string]struct {
		prefix string
		may    clientv3.PermissionType
	}{
		"publisher": {below, clientv3.PermissionType(clientv3.PermReadWrite)},
		"agent":     {below + "pub/", clientv3.PermissionType(clientv3.PermRead)},
	} {
		did(c.RoleAdd(ctx, role))
		did(c.RoleGrantPermission(ctx, role, p.prefix, clientv3.GetPrefixRangeEnd(p.prefix), p.may))
		did(c.RoleGrantPermission(ctx, role, "/confsyncd/@tenants/"+tenant, "", clientv3.PermissionType(clientv3.PermRead)))
		if role == "agent" {
			for _, prefix := range []string{below + "hosts/", below + "alive/"} {
				did(c.RoleGrantPermission(ctx, role, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite)))
			}
		}
		did(c.UserAdd(ctx, role, role+"'s"))
		did(c.UserGrantRole(ctx, role, role))
	}
	did(c.UserAdd(ctx, "root", "root's"))
	did(c.UserGrantRole(ctx, "root", "root"))
	did(c.AuthEnable(ctx))
	for _, m := range w.Cluster.Members {
		m.User, m.Password = "root", "root's"
	}
}

// guarded starts publisher and agent as users of an etcd that asks for them.
func (w *World) guarded() {
	w.Helper()
	w.guard()
	w.enter(w.Source, "publisher", "publisher's")
	w.enter(w.Target, "agent", "agent's")
	w.Start()
}

// enter writes a user and its password for a host.
func (w *World) enter(h *lab.Host, user, password string) {
	w.Helper()
	if h.Config == w.Lab.Config {
		w.Configure(h, "")
	}
	file := filepath.Join(filepath.Dir(h.Config), "password")
	w.do(lab.Place(file, []byte(password+"\n")))
	w.Configure(h, fmt.Sprintf("[etcd]\nusername = %q\npassword_file = %q\n", user, file))
}

func (w *World) revoke(role string) {
	w.Helper()
	w.do(w.root(func(c *clientv3.Client) error { _, err := c.UserRevokeRole(w.Context(), role, role); return err }))
}

func (w *World) grant(role string) {
	w.Helper()
	w.do(w.root(func(c *clientv3.Client) error { _, err := c.UserGrantRole(w.Context(), role, role); return err }))
}

// tokensExpire edits with pauses in which tokens expire, and kills the server.
func (w *World) tokensExpire() {
	w.Helper()
	w.guarded()
	for range 2 {
		for range 2 {
			time.Sleep(3 * tokenTTL) // Nobody can see a token expire without using it.
			w.commit(1)
			w.Count("faults", 1)
		}
		w.do(w.Cluster.Kill())
		w.Replace(3)
		w.do(w.Cluster.Start())
		w.Healed()
		w.Converge()
		w.Count("kills", 1)
	}
}

// signing is the --auth-token of servers that sign what they hand out.
func (w *World) signing() string {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.do(err)
	private, public, err := lab.KeyPEM(key)
	w.do(err)
	dir := w.TempDir()
	w.do(lab.Place(filepath.Join(dir, "private"), private))
	w.do(lab.Place(filepath.Join(dir, "public"), public))
	return fmt.Sprintf("jwt,pub-key=%s,priv-key=%s,sign-method=ES256,ttl=%v", filepath.Join(dir, "public"), filepath.Join(dir, "private"), tokenTTL)
}

//go:build !lean

package tenant_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/tenant"
)

var (
	stepsFlag = flag.Int("steps", 100, "how many steps the model takes")
	seedFlag  = flag.Uint64("seed", 0, "seed of the model's steps; 0: a new one")
)

// party is a tenant in the model: what its directory has, and what its host should have.
type party struct {
	name          string
	dir, target   string
	files         map[string]string // in the directory
	published     map[string]string // nil if the tenant has no commit
	applied       map[string]string // on the host
	registered    bool              // created, and not deleted since
	deleted       bool              // and not created since
	buried        bool              // what the host has is of a tenant that was deleted
	remembersGone bool              // so is what the publisher remembers
}

// model is two tenants whose names are alike, under random hands.
type model struct {
	*testing.T
	rng     *rand.Rand
	etcd    *store.Client
	admin   *clientv3.Client
	state   string
	parties []*party
	did     map[string]int
}

// TestTenantsNeverSeeEachOther edits, publishes, applies, creates and deletes two tenants, of
// which one's name begins with the other's. After each step the keys of the one that had
// no part in it are the same bytes at the same revisions, and hosts have what their own
// tenant published.
func TestTenantsNeverSeeEachOther(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d", seed)
	m := newModel(t, seed)
	for range *stepsFlag {
		i := m.rng.IntN(len(m.parties))
		p, other := m.parties[i], m.parties[1-i]
		before := m.keys(other)
		m.step(p)
		if after := m.keys(other); !maps.Equal(before, after) {
			t.Fatalf("a step of %s changed keys of %s:\n%v\n%v", p.name, other.name, before, after)
		}
	}
	t.Logf("%d steps: %v", *stepsFlag, m.did)
}

func newModel(t *testing.T, seed uint64) *model {
	endpoint := devetcdtest.Start(t)
	m := &model{T: t, rng: rand.New(rand.NewPCG(seed, 1)), state: t.TempDir(), did: make(map[string]int)}
	m.etcd = store.NewClient(store.Config{Endpoints: []string{endpoint}, Prefix: "/confsyncd", Log: hclog.NewNullLogger()})
	t.Cleanup(func() { m.etcd.Close() })
	var err error
	if m.admin, err = clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: nil}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.admin.Close() })
	for _, name := range []string{"a", "ab"} {
		p := &party{name: name, dir: filepath.Join(t.TempDir(), name), target: filepath.Join(t.TempDir(), name), files: make(map[string]string)}
		if err := os.Mkdir(p.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		m.parties = append(m.parties, p)
	}
	return m
}

// keys returns all that etcd has of a tenant.
func (m *model) keys(p *party) map[string]string {
	m.Helper()
	keys := make(map[string]string)
	for _, r := range [][2]string{{"/confsyncd/" + p.name + "/", "/confsyncd/" + p.name + "0"}, {"/confsyncd/@tenants/" + p.name, "/confsyncd/@tenants/" + p.name + "\x00"}} {
		resp, err := m.admin.Get(m.Context(), r[0], clientv3.WithRange(r[1]))
		if err != nil {
			m.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			keys[string(kv.Key)] = fmt.Sprintf("%d %x", kv.ModRevision, kv.Value)
		}
	}
	return keys
}

func (m *model) step(p *party) {
	m.Helper()
	switch n := m.rng.IntN(100); {
	case n < 40:
		m.edit(p)
	case n < 70:
		m.push(p)
	case n < 92:
		m.pull(p)
	case n < 95:
		m.delete(p)
	default:
		m.create(p)
	}
}

func (m *model) done(what string) { m.did[what]++ }

// edit changes some files. Whatever a file holds begins with the tenant's name.
func (m *model) edit(p *party) {
	m.done("edits")
	for range 1 + m.rng.IntN(4) {
		path := fmt.Sprintf("d%d/f%d", m.rng.IntN(3), m.rng.IntN(5))
		full := filepath.Join(p.dir, path)
		if m.rng.IntN(5) == 0 {
			delete(p.files, path)
			if err := os.Remove(full); err != nil && !errors.Is(err, os.ErrNotExist) {
				m.Fatal(err)
			}
			continue
		}
		size := m.rng.IntN(200)
		if m.rng.IntN(20) == 0 {
			size = 30000 // beyond what a record holds
		}
		noise := make([]byte, size)
		for i := range noise {
			noise[i] = byte('!' + m.rng.IntN(90))
		}
		p.files[path] = fmt.Sprintf("<%s>%s", p.name, noise)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			m.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(p.files[path]), 0o644); err != nil {
			m.Fatal(err)
		}
	}
}

func (m *model) push(p *party) {
	m.Helper()
	takeOver := p.remembersGone && m.rng.IntN(2) == 0
	pub, err := publisher.New(publisher.Options{
		Prefix: "/confsyncd", Tenant: p.name, Dir: p.dir, Name: "config-1", MaxFileSize: 1 << 20, MaxDelete: 1, StateDir: m.state,
		Allow: publisher.Allow{Delete: true, Root: true}, TakeOver: takeOver, Store: m.etcd.Tenant(p.name), Log: hclog.NewNullLogger(),
	})
	if err != nil {
		m.Fatal(err)
	}
	_, err = pub.Push(m.Context(), publisher.PushOptions{})
	if refused := p.deleted || p.remembersGone && !takeOver; refused {
		m.done("pushes refused")
		if !errors.Is(err, publisher.ErrRefused) || !strings.Contains(err.Error(), "deleted") {
			m.Fatalf("push of a tenant that was deleted: %v", err)
		}
		return
	}
	if err != nil {
		m.Fatalf("push of %+v: %v", p, err)
	}
	m.done("pushes")
	p.remembersGone = false
	p.published = maps.Clone(p.files)
}

func (m *model) pull(p *party) {
	m.Helper()
	_, err := agent.Pull(m.Context(), agent.Options{
		Prefix: "/confsyncd", Tenant: p.name, Dir: p.target, UID: -1, GID: -1, StateDir: m.state, Store: m.etcd.Tenant(p.name), Log: hclog.NewNullLogger(),
	})
	switch {
	case p.buried:
		m.done("pulls refused")
		if !errors.Is(err, agent.ErrRefused) || !strings.Contains(err.Error(), "was deleted at") {
			m.Fatalf("pull of a tenant that was deleted: %v", err)
		}
		m.same(p)
		if m.rng.IntN(2) == 0 { // its files go, and it is met as for the first time
			if err := os.RemoveAll(p.target); err != nil {
				m.Fatal(err)
			}
			p.applied, p.buried = nil, false
		}
		return
	case p.published == nil:
		if !errors.Is(err, agent.ErrNothing) {
			m.Fatalf("pull of nothing: %v", err)
		}
		return
	case err != nil:
		m.Fatalf("pull of %s: %v", p.name, err)
	}
	m.done("pulls")
	p.applied = maps.Clone(p.published)
	m.same(p)
}

// same fails the test unless the host has what was applied, and nothing of another tenant.
func (m *model) same(p *party) {
	m.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(p.target, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && d.Name() == ".confsyncd" {
				return filepath.SkipDir
			}
			return err
		}
		content, err := os.ReadFile(path)
		if !bytes.HasPrefix(content, []byte("<"+p.name+">")) {
			m.Errorf("%s has a file of another tenant", path)
		}
		got[strings.TrimPrefix(path, p.target+"/")] = string(content)
		return err
	})
	if err != nil {
		m.Fatal(err)
	}
	if !maps.Equal(got, p.applied) {
		m.Fatalf("%s has %q, want %q", p.name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(p.applied)))
	}
}

func (m *model) delete(p *party) {
	m.Helper()
	keys := len(m.keys(p))
	if p.registered || p.deleted {
		keys--
	}
	gone, tomb, err := tenant.Delete(m.Context(), m.etcd, p.name, tenant.Deletion{Who: "model"})
	if p.deleted || !p.registered && p.published == nil {
		if !errors.Is(err, tenant.ErrNone) {
			m.Fatalf("deletion of nothing: %v", err)
		}
		return
	}
	m.done("deletions")
	left := m.keys(p)
	if err != nil || gone != int64(keys) && keys >= 0 || tomb.By != "model" || tomb.Cleared.IsZero() || len(left) != 1 {
		m.Fatalf("%d of %d keys of %s are gone, tombstone %v, left %q: %v", gone, keys, p.name, tomb, left, err)
	}
	p.remembersGone = p.remembersGone || p.published != nil
	p.buried = p.buried || p.applied != nil
	p.published, p.registered, p.deleted = nil, false, true
}

func (m *model) create(p *party) {
	m.Helper()
	t, err := tenant.Create(m.Context(), m.etcd, p.name, tenant.Settings{})
	if p.registered || p.published != nil {
		if !errors.Is(err, tenant.ErrExists) {
			m.Fatalf("created again: %v", err)
		}
		return
	}
	if err != nil || t.ID().IsZero() {
		m.Fatalf("create: %+v, %v", t, err)
	}
	m.done("creations")
	p.registered, p.deleted = true, false
	if list, err := tenant.List(context.Background(), m.etcd, tenant.Selector{}, config.TenantName); err != nil || !slices.ContainsFunc(list, func(x tenant.Tenant) bool { return x.Name == p.name }) {
		m.Fatalf("list: %v, %v", list, err)
	}
}

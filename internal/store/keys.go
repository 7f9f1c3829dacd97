package store

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// keys names a tenant's keys.
type keys struct {
	base string // <prefix>/<tenant>
}

// all is the range of all keys of the tenant, its registration aside. No other tenant's key
// lies in it, even if that one's name begins with this one's.
func (k keys) all() (first, end string) { return k.base + "/", k.base + "0" }

// registrations is what the registrations of all tenants below a prefix begin with. No
// tenant's name begins with "@".
const registrations = "/@tenants/"

func (k keys) registration() string {
	name := strings.LastIndexByte(k.base, '/')
	return k.base[:name] + registrations + k.base[name+1:]
}

// tenantOf returns the name of the tenant that a key below the prefix belongs to, "" if it
// is none's, and the first key that may be another tenant's.
func tenantOf(prefix, key string) (name, next string) {
	if name, ok := strings.CutPrefix(key, prefix+registrations); ok {
		return name, key + "\x00"
	}
	name, _, ok := strings.Cut(key[len(prefix)+1:], "/")
	if !ok {
		return "", key + "\x00"
	}
	return name, prefix + "/" + name + "0"
}

func (k keys) head() string { return k.base + "/pub/head" }

func (k keys) log(generation uint64) string {
	return fmt.Sprintf("%s/pub/log/%016x", k.base, generation)
}

// generation reads what log writes, and nothing else.
func (k keys) generation(key string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(key, k.base+"/pub/log/"), 16, 64)
	return n, err == nil && key == k.log(n)
}

// logEnd is the key after the last that a log record can have. head and log records
// are one range, [head, logEnd), with no pack in it.
func (k keys) logEnd() string { return k.base + "/pub/log0" }

// packs is what the keys of all packs begin with.
func (k keys) packs() string { return k.base + "/pub/packs/" }

func (k keys) pack(hash fmt.Stringer) string { return k.packs() + hash.String() }

// packHash reads what pack writes, and nothing else.
func (k keys) packHash(key string) (hash diff.Hash, ok bool) {
	n, err := hex.Decode(hash[:], []byte(key[min(len(k.packs()), len(key)):min(len(k.packs())+2*len(hash), len(key))]))
	return hash, err == nil && n == len(hash) && key == k.pack(hash)
}

// candidates is what the keys of all candidates begin with.
func (k keys) candidates() string { return k.base + "/ctl/election/" }

// candidate names a candidate by its lease, as etcd's own elections do.
func (k keys) candidate(lease int64) string { return fmt.Sprintf("%s%x", k.candidates(), lease) }

func (k keys) fence() string { return k.base + "/ctl/fence" }

func (k keys) rollout() string { return k.base + "/ctl/rollout" }

// hosts is what the keys of all hosts' reports begin with.
func (k keys) hosts() string { return k.base + "/hosts/" }

func (k keys) host(id string) string { return k.hosts() + id }

// alive is what the keys of all signs of life begin with, and those of one host with its id.
func (k keys) alive() string { return k.base + "/alive/" }

// life names a sign of life by its host and its process's instance.
func (k keys) life(id, instance string) string { return k.alive() + id + "/" + instance }

// publishers is what the keys of publishers that live begin with.
func (k keys) publishers() string { return k.base + "/ctl/publisher/" }

// publisher names a publisher that lives by its instance.
func (k keys) publisher(instance string) string { return k.publishers() + instance }

// fleet is what all keys begin with that tell of hosts and publishers.
func (k keys) fleet() []string { return []string{k.hosts(), k.alive(), k.publishers()} }

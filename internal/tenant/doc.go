// Package tenant makes, lists and deletes tenants: what it takes beside publishing.
//
// It promises that a deletion is complete or says that it is not: first, in one Txn, the
// tombstone is put and the head goes, from which on nothing that a publisher made for the
// tenant is committed or staged; then its keys go in batches, until none is left. Whoever
// is killed in between, or cut off, goes on by deleting again. No key of another tenant is
// touched, and what hosts have of the tenant stays.
//
// Two caveats. Nothing is deleted by itself: a tenant that has expired is deleted by Prune.
// An etcd that is restored from a backup has the tenants of that time.
package tenant

// A bad link for TCP: drops, duplicates and corrupts segments as frames leave a host or arrive there,
// and counts what it did. Which segments follows from their number and the seed alone. Compiled for
// the BPF target by lab/impair.py, run by tc's clsact; captures on the host see what arrives before
// it, and what leaves after it.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define SEEN_MARK 0x51ce  // on the copies we made: they pass

// lab/impair.py has the same layout.
struct link {
  // Written by the lab.
  __u64 seed;
  __u64 all;  // impair every segment, not only those with payload
  __u64 drop_per_million, burst;  // a drop takes so many segments in a row
  __u64 duplicate_per_million, corrupt_per_million;
  // Written here.
  __u64 segments, payload;
  __u64 dropped, dropped_payload;
  __u64 duplicated, corrupted, corrupted_payload;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct link);
} links SEC(".maps");

// splitmix64: as good a random number as there is for each (seed, number, purpose).
static __always_inline __u64 million(__u64 seed, __u64 number, __u64 purpose) {
  __u64 z = seed * 0x2545f4914f6cdd1d + number * 0x9e3779b97f4a7c15 + purpose * 0xd1342543de82ef95;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (z ^ (z >> 31)) % 1000000;
}

// Where the payload of a TCP segment begins and how long it is; -1 when the frame is none.
static __always_inline int tcp_payload(struct __sk_buff* frame, __u32* offset) {
  __u8 head[20];
  __u32 tcp, end;
  if (bpf_skb_load_bytes(frame, 14, head, sizeof(head)) < 0) return -1;
  if (head[0] >> 4 == 4 && head[9] == 6) {
    tcp = 14 + (head[0] & 15) * 4;
    end = 14 + (head[2] << 8 | head[3]);
  } else if (head[0] >> 4 == 6 && head[6] == 6) {
    tcp = 14 + 40;
    end = tcp + (head[4] << 8 | head[5]);
  } else {
    return -1;
  }
  if (bpf_skb_load_bytes(frame, tcp, head, sizeof(head)) < 0) return -1;
  *offset = tcp + (head[12] >> 4) * 4;
  return end > *offset ? (int)(end - *offset) : 0;
}

static __always_inline int impair(struct __sk_buff* frame, __u64 flags) {
  if (frame->mark == SEEN_MARK) {
    frame->mark = 0;
    return TC_ACT_OK;
  }
  __u32 zero = 0, offset = 0;
  struct link* link = bpf_map_lookup_elem(&links, &zero);
  if (!link) return TC_ACT_OK;
  const int payload = tcp_payload(frame, &offset);
  if (payload < 0 || (payload == 0 && !link->all)) return TC_ACT_OK;
  const __u64 number = __sync_fetch_and_add(&link->segments, 1);
  __sync_fetch_and_add(&link->payload, payload);
  const __u64 burst = link->burst ? link->burst : 1;
  for (__u64 back = 0; back < burst && back < 64; ++back) {
    if (back > number || million(link->seed, number - back, 1) >= link->drop_per_million) continue;
    __sync_fetch_and_add(&link->dropped, 1);
    __sync_fetch_and_add(&link->dropped_payload, payload);
    return TC_ACT_SHOT;
  }
  if (million(link->seed, number, 2) < link->duplicate_per_million) {
    frame->mark = SEEN_MARK;
    if (bpf_clone_redirect(frame, frame->ifindex, flags) == 0)
      __sync_fetch_and_add(&link->duplicated, 1);
    frame->mark = 0;
  }
  if (payload > 0 && million(link->seed, number, 3) < link->corrupt_per_million) {
    __u8 byte = 0;
    bpf_skb_load_bytes(frame, offset, &byte, 1);
    byte ^= 0x10;
    bpf_skb_store_bytes(frame, offset, &byte, 1, 0);
    __sync_fetch_and_add(&link->corrupted, 1);
    __sync_fetch_and_add(&link->corrupted_payload, payload);
  }
  return TC_ACT_OK;
}

SEC("leave")
int on_leave(struct __sk_buff* frame) { return impair(frame, 0); }

SEC("arrive")
int on_arrive(struct __sk_buff* frame) { return impair(frame, BPF_F_INGRESS); }

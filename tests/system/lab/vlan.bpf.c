// A VLAN's tags for a host whose kernel has no VLAN devices: pushed as frames leave, popped as they
// arrive. Compiled for the BPF target by lab/network.py, run by tc's clsact.
//   clang -O2 -target bpf -DVLAN=120 -c vlan.bpf.c
struct __sk_buff;

static long (*push_tag)(struct __sk_buff*, unsigned short protocol, unsigned short tag) = (void*)18;
static long (*pop_tag)(struct __sk_buff*) = (void*)19;

#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define ETH_P_8021Q_BE 0x0081  // 0x8100 in network order, on little-endian hosts

__attribute__((section("leave"), used)) int on_leave(struct __sk_buff* frame) {
  return push_tag(frame, ETH_P_8021Q_BE, VLAN) == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}

__attribute__((section("arrive"), used)) int on_arrive(struct __sk_buff* frame) {
  return pop_tag(frame) == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}

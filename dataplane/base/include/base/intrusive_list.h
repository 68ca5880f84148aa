// A doubly linked list whose links lie in the elements: no allocation, O(1) removal.
//
// An element is in at most one list per hook. The list owns nothing; an element must be removed
// before it dies. T derives from ListHook<Tag> once per list it can be in.
#pragma once

#include <cstddef>

namespace sluice {

template <typename Tag>
struct ListHook {
  ListHook* prev = nullptr;
  ListHook* next = nullptr;
  bool linked() const { return next != nullptr; }
};

template <typename T, typename Tag>
class IntrusiveList {
 public:
  using Hook = ListHook<Tag>;

  IntrusiveList() { head_.prev = head_.next = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next == &head_; }
  std::size_t size() const { return size_; }
  T& front() { return static_cast<T&>(*head_.next); }
  const T& front() const { return static_cast<const T&>(*head_.next); }

  // True if it was not yet in the list.
  bool push_back(T& element) {
    Hook& h = element;
    if (h.linked()) return false;
    h.prev = head_.prev;
    h.next = &head_;
    head_.prev->next = &h;
    head_.prev = &h;
    ++size_;
    return true;
  }

  T& pop_front() {
    T& element = front();
    remove(element);
    return element;
  }

  // Does nothing when the element is in no list.
  void remove(T& element) {
    Hook& h = element;
    if (!h.linked()) return;
    h.prev->next = h.next;
    h.next->prev = h.prev;
    h.prev = h.next = nullptr;
    --size_;
  }

 private:
  Hook head_;
  std::size_t size_ = 0;
};

}  // namespace sluice

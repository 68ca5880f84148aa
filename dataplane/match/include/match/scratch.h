// Hyperscan scratch space of one worker.
#pragma once

#include <memory>

namespace sluice::match {

// Grows to fit each database it meets: the first match against a new snapshot may allocate once.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(Scratch&&) noexcept;
  Scratch& operator=(Scratch&&) noexcept;
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::match

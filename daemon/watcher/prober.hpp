// Probe pulls: asking the registry through containerd why an image cannot be had. One pull an image at a
// time however many pods wait for it, a bounded number of pulls in all. One io_context thread.
#pragma once

#include "base/cause.hpp"
#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "cri/runtime.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fallbackd::watcher {

struct Verdict {
  enum class Kind : std::uint8_t {
    pulled,     // the image is on the node now
    failed,     // the registry, or the way to it, failed: see cause
    undecided,  // containerd could not be asked
  };
  Kind kind = Kind::undecided;
  Cause cause = Cause::unknown;
  std::string text;  // containerd's words
  Stamp started;
  Stamp ended;
};

class Prober {
 public:
  Prober(boost::asio::any_io_executor executor, cri::Runtime& runtime, std::size_t maxConcurrent);

  /// Pulls `reference`, or joins the pull of it that is under way. A pull that neither ends nor moves
  /// within `stallTimeout` is cancelled and counts as a timeout; one that moves is left alone.
  cri::Awaitable<Verdict> probe(std::string reference, std::chrono::nanoseconds stallTimeout);

  /// How many pulls were really sent, for the metrics and for tests.
  [[nodiscard]] std::size_t pullsSent() const { return pullsSent_; }

 private:
  struct Flight;

  cri::Awaitable<void> fly(std::shared_ptr<Flight> flight);
  cri::Awaitable<Verdict> pullWatched(std::string reference, std::chrono::nanoseconds stallTimeout);
  cri::Awaitable<void> untilStalled(std::chrono::nanoseconds stallTimeout);

  boost::asio::any_io_executor executor_;
  cri::Runtime& runtime_;
  std::size_t free_;
  std::size_t pullsSent_ = 0;
  boost::asio::steady_timer freed_;
  std::map<std::string, std::shared_ptr<Flight>> flights_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher

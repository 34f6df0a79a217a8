// SPDX-License-Identifier: Apache-2.0
#include "standin/images.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "domain/stand_in.hpp"
#include "standin/program/program_bytes.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace fallbackd::standin {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kImageLimit = 5s;  // until CRI knows an image that containerd has
constexpr Backoff::Limits kImageLooks{2ms, 100ms};
// With this label CRI leaves an image's names alone: without it, CRI adds one named by the digest of the
// configuration, which outlives ours.
constexpr const char* kManaged = "io.cri-containerd.image";

}  // namespace

/// Removes those that no stand-in of any fallbackd names. One that is missed is removed the next time.
cri::Awaitable<void> StandInImages::removeUnused() {
  const auto names = co_await control_.imagesWithLabel(kStandInImageLabel);
  const auto containers = co_await runtime_.listContainers();
  if (!names || !containers || users_ > 0) co_return;
  for (const auto& name : *names) {
    const bool used = std::any_of(containers->begin(), containers->end(),
                                  [&](const auto& one) { return one.image == name; });
    if (used) continue;
    const auto removed = co_await control_.deleteImage(name, cri::Cleanup::later);
    static_cast<void>(removed);
    if (users_ > 0) co_return;
  }
}

/// Its digest is computed once, and off the loop, since it takes as long as an admission.
cri::Awaitable<Result<std::optional<cri::Blob>>> StandInImages::executableLayer(const Request& request) {
  if (!request.executable) co_return std::nullopt;
  auto layer = layerOf(*request.executable);
  auto& known = digests_[imageNameOf(request.binary, request.executable)];
  if (known.empty()) {
    auto job = [](cri::Blob blob) -> asio::awaitable<Result<std::string>> { co_return digestOf(blob); };
    try {
      if (!pool_) pool_.emplace(1);
    } catch (const boost::system::system_error& failure) {
      co_return failErrno(Stage::run, "start a thread for the image of a stand-in", failure.code().value());
    }
    auto running = job(layer);
    auto digest = co_await asio::co_spawn(*pool_, std::move(running), asio::use_awaitable);
    if (!digest) co_return tl::unexpected<Error>(digest.error());
    known = std::move(*digest);
  }
  layer.digest = known;
  co_return std::move(layer);
}

/// One at a time: a node full of pods needs the same image at once, and it may be large.
cri::Awaitable<Result<std::string>> StandInImages::ensure(const Request& request) {
  const auto executor = co_await asio::this_coro::executor;
  const auto name = imageNameOf(request.binary, request.executable);
  for (auto other = writing_.find(name); other != writing_.end(); other = writing_.find(name)) {
    const auto ended = other->second;
    co_await ended->wait();
  }
  struct Turn {
    Turn(std::map<std::string, std::shared_ptr<Event>>& writing, const std::string& image,
         const asio::any_io_executor& loop)
        : all(writing), its(all.emplace(image, std::make_shared<Event>(loop)).first) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      const auto ended = its->second;
      all.erase(its);
      ended->set();
    }
    std::map<std::string, std::shared_ptr<Event>>& all;
    std::map<std::string, std::shared_ptr<Event>>::iterator its;
  } const turn(writing_, name, executor);
  co_return co_await write(name, request);
}

/// kubelet collects images that it does not know to be in use, so each call looks for it again.
cri::Awaitable<Result<std::string>> StandInImages::write(std::string name, const Request& request) {
  auto layer = co_await executableLayer(request);
  if (!layer) co_return tl::unexpected<Error>(layer.error());
  auto parts = imageOf(name, programBytes(), architecture(), std::move(*layer));
  std::string imageId = parts[parts.size() - 2].digest;
  const auto stored = co_await control_.imageDigest(name);
  if (!stored) co_return tl::unexpected<Error>(stored.error());
  const bool suspect = suspects_.contains(name);
  const bool ours = *stored == parts.back().digest && !suspect;
  const auto present = co_await runtime_.imagePresent(name);
  if (!present) co_return tl::unexpected<Error>(present.error());
  if (*present && ours) co_return imageId;
  // A pod may name it, too, and pull it from wherever its host leads; and an earlier version had a different
  // program.
  if (!stored->empty() && !ours) {
    // What it was unpacked to would be used again as long as it is there.
    const auto cleanup = suspect ? cri::Cleanup::now : cri::Cleanup::later;
    auto removed = co_await control_.deleteImage(name, cleanup);
    if (!removed) co_return tl::unexpected<Error>(removed.error());
    auto forgotten = co_await awaitKnown(name, Image::gone);
    if (!forgotten) co_return tl::unexpected<Error>(forgotten.error());
  }
  cri::Labels labels{{kManaged, "managed"}, {kStandInImageLabel, "true"}};
  auto created = co_await control_.createImage(name, std::move(parts), std::move(labels));
  if (!created) co_return tl::unexpected<Error>(created.error());
  suspects_.erase(name);
  const auto there = co_await awaitKnown(name, Image::there);
  if (!there) co_return tl::unexpected<Error>(there.error());
  co_return imageId;
}

/// The name may have been given to a different image since it was looked at.
cri::Awaitable<Result<>> StandInImages::check(std::string containerId, std::string imageId) {
  const auto stored = co_await runtime_.storedContainer(containerId);
  if (!stored) co_return tl::unexpected<Error>(stored.error());
  if (stored->imageId == imageId) co_return Result<>{};
  co_return fail(Stage::containerd, Reason::digest_mismatch,
                 "stand-in " + containerId + " was made from a different image, " + stored->imageId);
}

/// CRI learns of it through a containerd event.
cri::Awaitable<Result<>> StandInImages::awaitKnown(std::string name, Image wanted) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  const auto deadline = clock.now() + kImageLimit;
  Backoff pause(kImageLooks);
  for (;;) {
    const auto present = co_await runtime_.imagePresent(name);
    if (!present) co_return tl::unexpected<Error>(present.error());
    if (*present == (wanted == Image::there)) co_return Result<>{};
    if (clock.now() > deadline) {
      co_return fail(
          Stage::containerd, Reason::timeout,
          "CRI does not learn that image " + name + (wanted == Image::there ? " is there" : " is gone"));
    }
    co_await pause.wait();
  }
}

}  // namespace fallbackd::standin

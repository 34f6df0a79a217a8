#include "config/reload.hpp"

#include "config/load.hpp"

#include <chrono>
#include <utility>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::config {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Long enough for an editor's or kubelet's handful of renames to be over, short enough to be noticed by
// nobody.
constexpr auto kQuiet = 50ms;
constexpr auto kLongestWait = 1s;

// CREATE is for symlinks, hard links and folders; a new file is complete only at its CLOSE_WRITE.
constexpr std::uint32_t kMask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                                IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

std::string folderOf(const std::string& file) {
  const auto slash = file.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : file.substr(0, slash);
}

std::string nameOf(const std::string& path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0: the whole path
}

}  // namespace

Watcher::Watcher(asio::any_io_executor executor, std::string mainFile, std::optional<std::string> dropInDir)
    : executor_(std::move(executor)),
      mainFile_(std::move(mainFile)),
      dropInDir_(dropInDir.value_or(defaultDropInDir(mainFile_))) {}

Watcher::~Watcher() {
  if (descriptor_) descriptor_->release();  // the inotify object owns the descriptor
}

Result<> Watcher::watchFolders() {
  if (!inotify_) {
    FB_TRY(auto created, sys::Inotify::create(Stage::config));
    inotify_ = std::move(created);
    descriptor_.emplace(executor_, inotify_->nativeHandle());
  }
  FB_TRY(mainWatch_, inotify_->addWatch(Stage::config, folderOf(mainFile_), kMask));
  // The folder of drop-ins may come later: then the folder above tells, or the next change does.
  const auto watched = inotify_->addWatch(Stage::config, dropInDir_, kMask);
  if (!watched && watched.error().reason != Reason::not_found) return tl::unexpected<Error>(watched.error());
  return {};
}

bool Watcher::drain() {
  bool any = false;
  for (const auto& event : inotify_->read()) {
    // Other things may lie beside the main file; what they do is not our affair.
    any = any || event.watch != mainWatch_ || event.name.empty() || event.name == nameOf(mainFile_) ||
          event.name == nameOf(dropInDir_) || event.name == "..data";
  }
  return any;
}

asio::awaitable<Result<>> Watcher::changed() {
  const auto watched = watchFolders();
  if (!watched) co_return watched;
  do {
    co_await descriptor_->async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable);
  } while (!drain());

  using namespace asio::experimental::awaitable_operators;
  const auto latest = std::chrono::steady_clock::now() + kLongestWait;
  asio::steady_timer quiet(executor_);
  while (std::chrono::steady_clock::now() < latest) {
    quiet.expires_after(kQuiet);
    const auto first =
        co_await (quiet.async_wait(asio::use_awaitable) ||
                  descriptor_->async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable));
    if (first.index() == 0) break;
    drain();
  }
  // A folder that was replaced, or that is new, is watched again before the caller reads the files.
  co_return watchFolders();
}

}  // namespace fallbackd::config

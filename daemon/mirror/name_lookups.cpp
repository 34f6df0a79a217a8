// SPDX-License-Identifier: Apache-2.0
#include "mirror/name_lookups.hpp"

#include "sys/fd.hpp"

#include <exception>
#include <fcntl.h>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>

namespace fallbackd::mirror {

namespace asio = boost::asio;

struct NameLookups::Running {
  explicit Running(const asio::any_io_executor& executor) : done(executor) {}
  Found found;
  Event done;
};

/// What the threads know about their owner, which may be gone when they end.
struct NameLookups::Shared {
  std::mutex guard;
  bool open = true;                                        // guarded
  std::map<std::string, std::shared_ptr<Running>> byName;  // of the executor's thread
};

NameLookups::NameLookups(asio::any_io_executor executor, LookUp lookUp)
    : executor_(std::move(executor)), lookUp_(std::move(lookUp)), shared_(std::make_shared<Shared>()) {}

NameLookups::~NameLookups() {
  close();
}

void NameLookups::close() {
  const std::lock_guard lock(shared_->guard);
  shared_->open = false;
}

namespace {

/// Without a free descriptor the system's lookup can neither read a file nor ask a name server.
bool hasDescriptors() {
  return static_cast<bool>(sys::UniqueFd(::open("/", O_PATH | O_CLOEXEC)));
}

}  // namespace

NameLookups::Found NameLookups::askSystem(const std::string& host) {
  asio::io_context loop;
  boost::system::error_code error;
  const auto entries = asio::ip::tcp::resolver(loop).resolve(host, "", error);
  Found found;
  if (error) found = {{}, error.message(), !hasDescriptors()};
  for (const auto& entry : entries) found.addresses.push_back(entry.endpoint().address());
  return found;
}

asio::awaitable<NameLookups::Found> NameLookups::find(std::string host) {
  const auto shared = shared_;
  auto running = shared->byName[host];
  if (!running) {
    const bool tooMany = shared->byName.size() > kMaxAtOnce;
    if (tooMany) {
      shared->byName.erase(host);
      co_return Found{{}, "too many names are being looked up", true};
    }
    running = shared->byName[host] = std::make_shared<Running>(executor_);
    try {
      std::thread([shared, host, executor = executor_, lookUp = lookUp_] {
        Found found;
        try {
          found = lookUp(host);
        } catch (const std::exception& error) {
          found = {{}, error.what(), true};
        }
        const std::lock_guard lock(shared->guard);
        if (!shared->open) return;
        asio::post(executor, [shared, host, found = std::move(found)]() mutable {
          const auto node = shared->byName.extract(host);
          node.mapped()->found = std::move(found);
          node.mapped()->done.set();
        });
      }).detach();
    } catch (const std::system_error& error) {
      shared->byName.erase(host);
      co_return Found{{}, error.what(), true};
    }
  }
  co_await running->done.wait();
  co_return running->found;
}

}  // namespace fallbackd::mirror

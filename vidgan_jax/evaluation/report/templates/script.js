if (matchMedia('(prefers-reduced-motion: reduce)').matches)
  document.querySelectorAll('video').forEach(video => { video.autoplay = false; video.pause() })

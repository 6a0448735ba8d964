// Controls below the videos, in place of the browser's, which would cover the lowest clips.
document.querySelectorAll('.clips figure').forEach(figure => {
  const video = figure.querySelector('video')
  const player = figure.querySelector('.player')
  const [button, slider] = player.children
  const name = () => { button.textContent = video.paused ? 'Play' : 'Pause' }
  button.onclick = () => { if (video.paused) video.play(); else video.pause() }
  slider.oninput = () => {
    video.pause()
    video.currentTime = slider.value / 1000 * video.duration
  }
  video.ontimeupdate = () => {
    if (video.duration) slider.value = 1000 * video.currentTime / video.duration
  }
  video.onplay = video.onpause = name
  video.controls = false
  player.hidden = false
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) {
    video.autoplay = false
    video.pause()
  }
  name()
})
